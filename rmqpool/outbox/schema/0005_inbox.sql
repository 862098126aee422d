-- What each consumer has handled. message_id is a text: other publishers' ids are no UUIDs.
CREATE TABLE {inbox} (
    consumer text NOT NULL,
    message_id text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, message_id)
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 50000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 500000
);

-- Rows arrive in the order of done_at, so a few pages of ranges are enough to find the old ones.
CREATE INDEX {inbox_done_at} ON {inbox} USING brin (done_at);
