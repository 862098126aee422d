-- A key that fails stalls alone: its rows wait in the held table, so that the hot claim never has to step over them.
-- "stall" is key:<key> for rows with a key, and row:<id> for a row without one.
CREATE TABLE {stalled} (
    stall text PRIMARY KEY,
    lane smallint NOT NULL,
    attempts integer NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at timestamptz NOT NULL,
    reason text NOT NULL,
    error text NOT NULL
);

CREATE INDEX {stalled_lane} ON {stalled} (lane, next_at);

CREATE TABLE {held} (
    id bigint PRIMARY KEY,
    stall text NOT NULL,
    lane smallint NOT NULL,
    key text,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    message_id uuid NOT NULL,
    properties jsonb,
    headers jsonb,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX {held_stall} ON {held} (stall, id);
