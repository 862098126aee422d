"""The growth tables: threads, connections, window, sizes of bodies and types of queues."""

from __future__ import annotations

from benchmarks.entries import C_CLIENT, Entry, Scenario
from benchmarks.job import QueueType

__all__ = ["CONNECTIONS", "GROWTH_THREADS", "SIZES", "WINDOW", "connections_name", "threads_name", "window_name"]

_THREADS = {1: 1500, 8: 5000, 32: 12_000, 100: 12_000, 320: 12_000, 1000: 12_000}
_CONNECTIONS = (1, 2, 4, 8)
_WINDOWS = {1: 1500, 10: 8000, 100: 20_000, 1000: 40_000, 10_000: 40_000}
_SIZES = {256: 30_000, 4096: 12_000, 65536: 1500}
_QUEUE_TYPES: tuple[QueueType, ...] = ("quorum", "classic")


def threads_name(threads: int) -> str:
    """The entry's name in the growth table of threads."""
    return f"{threads:,} thread{'s' * (threads > 1)}"


def connections_name(connections: int) -> str:
    """The entry's name in the growth table of connections."""
    return f"{connections} connection{'s' * (connections > 1)}"


def window_name(window: int) -> str:
    """The entry's name in the growth table of the window."""
    return f"window of {window:,}"


GROWTH_THREADS = Scenario(
    "growth-threads",
    "rmqpool publish over 2 connections, by publishing threads",
    "publish",
    tuple(
        Entry(threads_name(threads), "rmqpool_publish", "publish", count, threads=threads, connections=2)
        for threads, count in _THREADS.items()
    ),
    growth=True,
)

CONNECTIONS = Scenario(
    "growth-connections",
    "rmqpool publish from 32 threads, by connections",
    "publish",
    tuple(
        Entry(connections_name(connections), "rmqpool_publish", "publish", 12_000, threads=32, connections=connections)
        for connections in _CONNECTIONS
    ),
    growth=True,
    usual_rounds=1,
)

WINDOW = Scenario(
    "growth-window",
    "rmqpool publish_many, by messages without a confirm",
    "publish",
    tuple(
        Entry(window_name(window), "rmqpool_publish", "publish_many", count, window=window)
        for window, count in _WINDOWS.items()
    ),
    growth=True,
    usual_rounds=1,
)


def _of_size(queue_type: QueueType, size: int, count: int) -> tuple[Entry, ...]:
    group = f"{size:,} B, {queue_type} queue"

    def entry(name: str, client: str, action: str, messages: int, window: int) -> Entry:
        return Entry(f"{name}, {group}", client, action, messages, queue_type, size, window=window, group=group)

    return (
        entry("rmqpool publish_many", "rmqpool_publish", "publish_many", count, 5000),
        entry("C librabbitmq", C_CLIENT, "publish", count, 2000),
        entry("aio-pika", "aio_pika_client", "publish", count // 3, 1000),
    )


SIZES = Scenario(
    "sizes",
    "Publishing with many messages in flight, by size of the body and type of the queue",
    "publish",
    tuple(
        entry
        for queue_type in _QUEUE_TYPES
        for size, count in _SIZES.items()
        for entry in _of_size(queue_type, size, count)
    ),
    usual_rounds=1,
)
