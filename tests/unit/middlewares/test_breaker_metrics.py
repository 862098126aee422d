"""Circuit breakers for Prometheus: what they are in when they are scraped."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from rmqpool import Backoff, Breaker, CircuitOpenError, ConfigurationError, Delivery
from rmqpool.middlewares import BreakerMetrics, BreakerPolicy, CircuitBreaker, Metrics
from tests.garbage import collect

POLICY = BreakerPolicy(minimum=1, pause=Backoff(3600.0, 3600.0))


def bank() -> CircuitBreaker:
    """A breaker that opens at the first failure, for an hour."""
    return CircuitBreaker("bank", on=OSError, policy=POLICY)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """A figure of the bank's."""
    return registry.get_sample_value(f"rmqpool_circuit_breaker_{name}", {"breaker": "bank", **labels})


def test_a_breaker_tells_its_state_and_how_long_it_has_paused() -> None:
    """Read at each scrape; the seconds grow while it is open."""
    registry, breaker = CollectorRegistry(), bank()
    Metrics(registry, breakers=[breaker])
    Metrics(registry, breakers=[breaker])  # of another consumer: told once all the same
    assert [value(registry, "state", state=state) for state in ("closed", "open", "half_open")] == [1, 0, 0]
    assert (value(registry, "opened_total"), value(registry, "paused_seconds_total")) == (0, 0)
    delivery = cast("Delivery", SimpleNamespace(settler=None, epoch=1, channel_serial=1, delivery_tag=1))
    breaker.on_handle_error(delivery, breaker.before_handle(delivery), OSError("no answer"))
    assert [value(registry, "state", state=state) for state in ("closed", "open", "half_open")] == [0, 1, 0]
    first, second = (value(registry, "paused_seconds_total") or 0 for _ in range(2))
    assert value(registry, "opened_total") == 1
    assert 0 < first < second


def test_two_breakers_of_one_name_are_refused_while_both_are_in_use() -> None:
    """Their figures would be the same series; one that nobody uses any more makes room."""
    registry, first = CollectorRegistry(), bank()
    Metrics(registry, breakers=[first])
    with pytest.raises(ConfigurationError, match="two circuit breakers are named 'bank'"):
        Metrics(registry, breakers=[bank()])
    gone = weakref.ref(first)
    del first
    collect(gone)
    Metrics(registry, breakers=[kept := bank()])
    assert kept.opened == 0


def test_a_breaker_around_calls_tells_its_calls_too() -> None:
    """By outcome, the refused ones among them; both kinds in one registry."""
    registry, breaker = CollectorRegistry(), Breaker("bank", on=OSError, policy=POLICY)
    BreakerMetrics(registry).add(breaker, other := CircuitBreaker("shop", on=OSError))
    with breaker:
        pass
    with pytest.raises(ValueError, match="no such account"), breaker:
        raise ValueError("no such account")
    with pytest.raises(OSError, match="no answer"), breaker:
        raise OSError("no answer")
    with pytest.raises(CircuitOpenError), breaker:
        pass
    outcomes = ("succeeded", "failed", "ignored", "refused")
    assert [value(registry, "calls_total", outcome=outcome) for outcome in outcomes] == [1, 1, 1, 1]
    assert (value(registry, "state", state="open"), value(registry, "opened_total")) == (1, 1)
    assert (value(registry, "paused_seconds_total") or 0) > 0
    assert registry.get_sample_value("rmqpool_circuit_breaker_opened_total", {"breaker": "shop"}) == other.opened == 0
    assert (
        registry.get_sample_value("rmqpool_circuit_breaker_calls_total", {"breaker": "shop", "outcome": "failed"})
        is None
    )


@pytest.mark.parametrize("wrong", ["bank", object()])
def test_what_is_no_breaker_is_refused(wrong: Any) -> None:
    """A name, for example."""
    with pytest.raises(ConfigurationError, match="CircuitBreaker objects"):
        Metrics(CollectorRegistry(), breakers=[wrong])
