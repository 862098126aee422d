"""Handlers in child processes: the connection stays in the worker, one child behind each of the consumer's threads."""
