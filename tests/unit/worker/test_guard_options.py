"""What a consumer is told of prefetch and timeouts: a mistake is refused by name, at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rmqpool import AdaptivePrefetch, ConfigurationError, Queue, Worker
from rmqpool.worker.guard_options import GuardOptions, broker_timeout
from rmqpool.worker.registration import with_declared


def registered(**options: Any) -> Any:
    """The definition of a consumer with these options."""
    worker = Worker("tested")

    @worker.consumer("orders", **options)
    def handle(order: dict[str, Any]) -> None: ...

    return worker.consumers[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prefetch": "adaptiv"}, "prefetch is 'adaptiv'; give a whole number from 1 to 2000, or 'adaptive'"),
        ({"prefetch": 2001}, "prefetch is 2001"),
        ({"prefetch": True}, "prefetch is True"),
        ({"overdue": "drop"}, "overdue is 'drop'; it must be 'park', 'requeue' or 'leave'"),
        ({"delivery_timeout": 0}, "delivery_timeout is 0; give seconds, more than 0"),
        ({"delivery_timeout": "1h"}, "delivery_timeout is '1h'"),
        ({"stalled_after": -1}, "stalled_after is -1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], told: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=told):
        registered(**options)


def test_adaptive_is_a_word_and_a_value() -> None:
    """The word means the defaults; it begins with 4 times the concurrency, within the bounds."""
    assert registered(prefetch="adaptive").prefetch == AdaptivePrefetch()
    assert registered(prefetch="adaptive", concurrency=3).messages_ahead == 12
    assert registered(prefetch=AdaptivePrefetch(maximum=10)).messages_ahead == 10


def test_a_single_active_consumer_takes_no_adaptive_prefetch() -> None:
    """Each change would hand its queue to another worker; also if the worker declares the queue elsewhere."""
    queue = Queue("orders", single_active_consumer=True)
    with pytest.raises(ConfigurationError, match="'orders' has a single active consumer, and an adaptive prefetch"):
        registered(queue=queue, prefetch="adaptive")
    with pytest.raises(ConfigurationError, match="give a whole number"):
        with_declared(registered(prefetch="adaptive"), [queue])
    assert registered(queue=queue, prefetch=7).messages_ahead == 7


def test_an_exclusive_queue_is_refused() -> None:
    """The connection that declares it is not the one that consumes: the broker would answer with 405 for ever."""
    queue = Queue("orders", type="classic", durable=False, exclusive=True, dead_letter=None)
    with pytest.raises(ConfigurationError, match=r"'orders' is exclusive: .* single_active_consumer=True"):
        registered(queue=queue)
    with pytest.raises(ConfigurationError, match="is exclusive"):
        with_declared(registered(), [queue])


def test_a_number_from_the_command_line_switches_it_off() -> None:
    """What a run asks for replaces what the consumer says."""
    definition = registered(prefetch="adaptive").with_overrides(None, 7)
    assert (definition.prefetch, definition.messages_ahead) == (7, 7)


@pytest.mark.parametrize(
    ("option", "of_queue", "expected"),
    [(None, None, 1800.0), (None, 60, 60.0), (None, timedelta(hours=2), 7200.0), (90.0, timedelta(hours=2), 90.0)],
)
def test_the_consumers_word_on_the_timeout_wins_over_the_queues(
    option: float | None, of_queue: float | timedelta | None, expected: float
) -> None:
    """And the queue's over the broker's default."""
    assert broker_timeout(GuardOptions(option), of_queue) == expected
    assert Queue("orders", consumer_timeout=of_queue).consumer_timeout == of_queue
