"""Counters and histograms for Prometheus, by queue and outcome."""

from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from rmqpool import Publisher, Queue, Reject, Retry, Skip, UnroutableError
from rmqpool.middlewares import Metrics
from tests.integration.worker.conftest import Bench


@pytest.mark.parametrize("is_async", [False, True])
def test_handlings_are_counted_by_queue_and_outcome(bench: Bench, is_async: bool) -> None:
    """Handled, failed, verdicts, bodies that cannot be decoded; each took some time, and none is left in progress."""
    registry = CollectorRegistry()
    worker = bench.worker(middleware=[Metrics(registry)])
    verdicts = {1: ValueError(), 2: Reject("no"), 3: Skip(), 4: Retry(delay=0)}

    def behave(number: int) -> None:
        error = verdicts.pop(number, None)
        if error is not None:
            raise error

    if is_async:

        @worker.consumer("orders")
        async def handle_async(number: int) -> None:
            behave(number)
    else:

        @worker.consumer("orders")
        def handle(number: int) -> None:
            behave(number)

    worker.start()
    bench.publisher.publish_many("orders", [0, 1, 2, 3, 4, "x"], timestamp=int(time.time()) - 100).raise_for_failures()
    expected = {"handled": 2, "failed": 1, "rejected": 1, "skipped": 1, "retried": 1, "undecodable": 1}

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, {"queue": "orders", **labels}) or 0

    bench.wait(
        lambda: all(value("rmqpool_handled_messages_total", outcome=end) == count for end, count in expected.items())
    )
    bench.wait(lambda: value("rmqpool_handling_in_progress") == 0)
    assert value("rmqpool_handling_seconds_count") == 7
    assert value("rmqpool_message_age_seconds_count") == 7
    assert 100 * 7 <= value("rmqpool_message_age_seconds_sum") < 130 * 7


def test_publishes_are_counted_by_destination_and_outcome(bench: Bench) -> None:
    """A queue of the default exchange, or an exchange: never a routing key that makes series without end."""
    registry = CollectorRegistry()
    publisher = Publisher(bench.pool, declare=[Queue("orders")], middleware=[Metrics(registry)])
    publisher.publish_many("orders", range(5)).raise_for_failures()
    publisher.publish_to("amq.topic", "order.created.7", 1, mandatory=False)
    with pytest.raises(UnroutableError):
        publisher.publish("nowhere", 1)

    def value(destination: str, outcome: str) -> float | None:
        labels = {"destination": destination, "outcome": outcome}
        return registry.get_sample_value("rmqpool_published_messages_total", labels)

    bench.wait(lambda: value("nowhere", "returned") == 1)
    assert value("orders", "confirmed") == 5
    assert value("amq.topic", "confirmed") == 1
    assert registry.get_sample_value("rmqpool_publishing_seconds_count", {"destination": "orders"}) == 5
    assert "order.created.7" not in generate_latest(registry).decode()
    publisher.close()


def test_several_objects_on_one_registry_share_their_figures() -> None:
    """A worker and a publisher of one process need not know of each other."""
    registry = CollectorRegistry()
    assert Metrics(registry)._series is Metrics(registry)._series
    assert Metrics(CollectorRegistry())._series is not Metrics(registry)._series
