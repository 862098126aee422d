-- Rows that are not due yet. They get an id of the hot table, and so their place in the order, when they are due.
CREATE TABLE {scheduled} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at timestamptz NOT NULL,
    lane smallint NOT NULL,
    key text,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    message_id uuid NOT NULL,
    properties jsonb,
    headers jsonb,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX {scheduled_due} ON {scheduled} (due_at, id);
