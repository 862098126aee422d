-- Rows that were given up. They keep the id that they had.
CREATE TABLE {dead} (
    id bigint PRIMARY KEY,
    lane smallint NOT NULL,
    key text,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    message_id uuid NOT NULL,
    properties jsonb,
    headers jsonb,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL,
    reason text NOT NULL,
    error text NOT NULL
);
