"""The side-by-side tables: publishing one at a time, from 32 threads, with many in flight; consuming and workers."""

from __future__ import annotations

from benchmarks.entries import C_CLIENT, Entry, Scenario

__all__ = ["CONSUME", "MANY", "ONE", "THREADS"]

_GATHER = 1000

ONE = Scenario(
    "one",
    "Publishing, one thread, one message at a time",
    "publish",
    (
        Entry("rmqpool publish", "rmqpool_publish", "publish", 2000),
        Entry("C librabbitmq", C_CLIENT, "publish", 2500, window=1),
        Entry("pika BlockingConnection", "pika_blocking", "publish", 1500),
        Entry("kombu", "kombu_client", "publish", 2000),
        Entry("Celery apply_async", "celery_client", "publish", 1000),
        Entry(
            "dramatiq send",
            "dramatiq_client",
            "publish",
            1500,
            queue_type="classic",
            declares=True,
            note="classic queue",
        ),
        Entry("amqpstorm", "amqpstorm_client", "publish", 80),
    ),
)

THREADS = Scenario(
    "threads",
    "Publishing from 32 threads, each one message at a time",
    "publish",
    (
        Entry("rmqpool publish", "rmqpool_publish", "publish", 20_000, threads=32, connections=2, note="2 connections"),
        Entry("kombu", "kombu_client", "publish", 6000, threads=32, note="32 connections"),
        Entry("pika BlockingConnection", "pika_blocking", "publish", 5000, threads=32, note="32 connections"),
    ),
)

MANY = Scenario(
    "many",
    "Publishing with many messages in flight",
    "publish",
    (
        Entry("rmqpool publish_many", "rmqpool_publish", "publish_many", 50_000, note="2,000 unconfirmed"),
        Entry("rmqpool submit", "rmqpool_publish", "submit", 50_000, note="2,000 futures"),
        Entry("rmqpool AsyncPublisher", "rmqpool_async", "publish", 30_000, window=_GATHER, note="gather of 1,000"),
        Entry("C librabbitmq", C_CLIENT, "publish", 50_000, note="2,000 unconfirmed"),
        Entry("pika SelectConnection", "pika_select", "publish", 40_000, note="by hand, 2,000 unconfirmed"),
        Entry("aiormq", "aiormq_client", "publish", 10_000, window=_GATHER, note="uvloop, gather of 1,000"),
        Entry("aio-pika", "aio_pika_client", "publish", 10_000, window=_GATHER, note="uvloop, gather of 1,000"),
        Entry("FastStream", "faststream_client", "publish", 6000, window=_GATHER, note="uvloop, gather of 1,000"),
    ),
)

CONSUME = Scenario(
    "consume",
    "Consuming, prefetch 500, a handler that does nothing, every message acknowledged",
    "consume",
    (
        Entry("rmqpool Worker", "rmqpool_worker", "consume", 60_000, note="def, at least once"),
        Entry("rmqpool Worker, async", "rmqpool_worker", "consume_async", 40_000, note="async def, at least once"),
        Entry("rmqpool Consumer", "rmqpool_consumer", "consume", 60_000, note="low-level"),
        Entry("C librabbitmq", C_CLIENT, "consume", 60_000, note="low-level"),
        Entry("amqpstorm", "amqpstorm_client", "consume", 15_000, note="low-level"),
        Entry("pika SelectConnection", "pika_select", "consume", 25_000, note="low-level"),
        Entry("pika BlockingConnection", "pika_blocking", "consume", 12_000, note="low-level"),
        Entry("kombu", "kombu_client", "consume", 8000, note="low-level"),
        Entry("aiormq", "aiormq_client", "consume", 8000, note="uvloop"),
        Entry("aio-pika", "aio_pika_client", "consume", 6000, note="uvloop"),
        Entry("FastStream", "faststream_client", "consume", 4000, note="uvloop, worker"),
        Entry("Celery, solo", "celery_client", "consume_solo", 4000, fill=("celery_client", "fill"), note="worker"),
        Entry(
            "Celery, threads",
            "celery_client",
            "consume_threads",
            2000,
            fill=("celery_client", "fill"),
            note="worker, 8 threads",
        ),
        Entry(
            "dramatiq",
            "dramatiq_client",
            "consume",
            2000,
            queue_type="classic",
            fill=("dramatiq_client", "fill"),
            declares=True,
            note="8 threads, classic queue",
        ),
    ),
)
