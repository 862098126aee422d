-- The rows that wait to be published. INSERT and DELETE only: an UPDATE would leave a dead tuple for each row.
-- Vacuum goes by a fixed number of rows: a share of a table that is empty most of the time means nothing.
CREATE TABLE {outbox} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane smallint NOT NULL,
    key text,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    message_id uuid NOT NULL,
    properties jsonb,
    headers jsonb,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 100000,
    autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = off
);

CREATE INDEX {outbox_lane_id} ON {outbox} (lane, id);
