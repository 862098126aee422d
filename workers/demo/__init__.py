"""The demo: orders go through a real broker into two workers, while the broker and a worker are killed."""
