"""The demo: orders go through an outbox, a real broker and an inbox, while the broker, the relay and a worker are killed."""
