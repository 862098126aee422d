"""When the guards of a consumer are looked at: what is switched off costs nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rmqpool import Queue, Worker
from rmqpool.core.delivery_watch import Step
from rmqpool.worker.guards import Guards
from rmqpool.worker.stats import Counters

OFF = float("inf")


def guards(**options: Any) -> Guards:
    """Of a consumer with these options, which nobody serves."""
    worker = Worker("tested")

    @worker.consumer("orders", **options)
    def handle(order: dict[str, Any]) -> None: ...

    place = SimpleNamespace(counters=Counters(), queue=worker.consumers[0].parking())
    nobody = cast("Any", SimpleNamespace(outstanding=list))
    return Guards(
        worker.consumers[0], nobody, nobody, pool=nobody, parking=nobody, place=cast("Any", place), on_event=nobody
    )


def test_guards_that_are_switched_off_wake_nobody_up() -> None:
    """No timeout, no silence, a fixed prefetch: the supervisor sleeps on."""
    assert guards(delivery_timeout=OFF, stalled_after=OFF, prefetch=10).look() == OFF


@pytest.mark.parametrize("timeout", [3.0, 1800.0])
def test_only_the_timeout_guard_looks_when_it_is_alone(timeout: float) -> None:
    """As often as its timeout asks for, at most every ten seconds."""
    assert guards(delivery_timeout=timeout, stalled_after=OFF).look() == pytest.approx(min(10, timeout / 50), abs=0.05)


@pytest.mark.parametrize("queue", [Queue("orders", single_active_consumer=True), Queue("orders", passive=True)])
def test_a_consumer_that_others_may_come_before_is_not_stalled_by_their_messages(queue: Queue) -> None:
    """Of a passive queue nobody told us whether it has a single active consumer."""
    watch = guards(queue=queue)._watchdog._watch
    assert all(watch.told(now, ready=5, consumers=2) is Step.NOTHING for now in range(10))
    assert not watch.is_healing


def test_a_guard_that_fails_is_contained(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and looked at again."""
    assert 4 < guards(delivery_timeout=OFF).look() <= 5
    assert "a guard of the worker failed; it looks again in 5 s" in caplog.text
