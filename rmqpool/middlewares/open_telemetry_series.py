"""What OpenTelemetry is told of pools and circuit breakers: the names, and which figure goes where. Measures nothing itself.

Names are those of ``db.client.connection.*`` with what is pooled here in the place of a database connection
(https://opentelemetry.io/docs/specs/semconv/database/database-metrics/), and those of ``PoolMetrics`` once they are exported
to Prometheus. They begin with ``rmqpool.``: the conventions keep ``db.`` and ``messaging.`` for what they define.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rmqpool.amqp.link_values import LinkState
from rmqpool.breaker import BreakerStats
from rmqpool.core.breaker import BreakerState
from rmqpool.core.histogram import Times
from rmqpool.pool_stats import ChannelStats, PoolStats
from rmqpool.resources.values import ResourceStats

__all__ = [
    "COUNTERS",
    "GAUGES",
    "TIMES",
    "Attributes",
    "Reading",
    "breaker_reading",
    "pool_reading",
    "resource_reading",
]

Attributes = tuple[tuple[str, str], ...]

_LEASED = ("channel", "resource")
GAUGES = {
    **{f"rmqpool.{one}.count": (f"{{{one}}}", f"What is pooled, by rmqpool.{one}.state") for one in _LEASED},
    **{f"rmqpool.{one}.max": (f"{{{one}}}", "How many may be open") for one in _LEASED},
    "rmqpool.resource.min": ("{resource}", "How many are kept open"),
    **{f"rmqpool.{one}.pending_requests": ("{request}", f"Callers that wait for a {one}") for one in _LEASED},
    **{f"rmqpool.{one}.overdue": (f"{{{one}}}", "Held for longer than leak_after") for one in _LEASED},
    "rmqpool.connection.count": ("{connection}", "Connections, by rmqpool.connection.state"),
    "rmqpool.unsettled_messages": ("{message}", "Messages without an outcome"),
    "rmqpool.circuit_breaker.state": ("1", "1 for the rmqpool.circuit_breaker.state that it is in"),
}
"""Unit and description of what goes up and down."""

COUNTERS = {
    **{f"rmqpool.{one}.granted": ("{lease}", f"Callers that got a {one}") for one in _LEASED},
    **{f"rmqpool.{one}.timeouts": ("{timeout}", f"Callers that got no {one} in time") for one in _LEASED},
    **{f"rmqpool.{one}.refusals": ("{request}", "Callers that were refused at once") for one in _LEASED},
    **{f"rmqpool.{one}.leaks": ("{lease}", "Leases held for too long, or dropped") for one in _LEASED},
    "rmqpool.resource.lost": ("{resource}", "Resources that were found dead, or came back broken"),
    "rmqpool.resource.open_failures": ("{failure}", "Opens that failed"),
    "rmqpool.connection.reconnects": ("{connection}", "Connections that were opened again"),
    "rmqpool.connection.blocked": ("s", "How long the broker blocked connections"),
    "rmqpool.pool.errors": ("{error}", "Errors, by error.type"),
    "rmqpool.circuit_breaker.opened": ("{opening}", "How often it has opened"),
    "rmqpool.circuit_breaker.paused": ("s", "How long it was open or half-open"),
    "rmqpool.circuit_breaker.calls": (
        "{call}",
        "Calls that ended, or were not made, by rmqpool.circuit_breaker.outcome",
    ),
}
"""Unit and description of what only grows."""

TIMES = {
    **{f"rmqpool.{one}.wait_time": f"Waiting for a {one}" for one in _LEASED},
    **{f"rmqpool.{one}.use_time": f"Holding a {one}" for one in _LEASED},
    **{f"rmqpool.{one}.create_time": f"Opening a {one}" for one in _LEASED},
    "rmqpool.connection.create_time": "Opening a connection",
}
"""Descriptions of the histograms, which are in seconds."""


@dataclass(slots=True)
class Reading:
    """The figures of one pool or breaker. Keys are an instrument's name and its attributes."""

    gauges: dict[tuple[str, Attributes], float] = field(default_factory=dict)
    counts: dict[tuple[str, Attributes], float] = field(default_factory=dict)
    times: dict[tuple[str, Attributes], Times] = field(default_factory=dict)

    def grew_from(self, earlier: Reading) -> bool:
        """False if something has become less: this is another pool, of the same name."""
        return all(count >= earlier.counts.get(key, 0) for key, count in self.counts.items()) and all(
            now >= then
            for key, times in self.times.items()
            if key in earlier.times
            for now, then in zip(times.counts, earlier.times[key].counts, strict=True)
        )


def pool_reading(stats: PoolStats, whose: Attributes) -> Reading:
    """Of an AMQP pool."""
    reading = Reading()
    ready = sum(connection.state is LinkState.READY for connection in stats.connections)
    blocked = sum(connection.blocked is not None for connection in stats.connections)
    states = {"ready": ready, "unready": len(stats.connections) - ready, "blocked": blocked}
    _by_state(reading, "connection", whose, states)
    reading.gauges["rmqpool.unsettled_messages", whose] = stats.unsettled
    reading.counts["rmqpool.connection.reconnects", whose] = stats.reconnects
    reading.counts["rmqpool.connection.blocked", whose] = stats.blocked_seconds
    for kind, count in stats.errors.items():
        reading.counts["rmqpool.pool.errors", (*whose, ("error.type", kind))] = count
    reading.times["rmqpool.connection.create_time", whose] = stats.connect_time
    if stats.channels is not None:
        _channels(reading, stats.channels, whose)
    return reading


def resource_reading(stats: ResourceStats, whose: Attributes) -> Reading:
    """Of a pool of resources."""
    reading, counters = Reading(), stats.counters
    states = {"used": stats.leased, "idle": stats.idle, "tended": stats.tended, "opening": stats.opening}
    _by_state(reading, "resource", whose, states)
    _leases(reading, "resource", whose, (stats.max_size, stats.waiting, stats.overdue))
    reading.gauges["rmqpool.resource.min", whose] = stats.min_size
    reading.counts["rmqpool.resource.granted", whose] = counters.granted
    reading.counts["rmqpool.resource.timeouts", whose] = counters.timed_out
    reading.counts["rmqpool.resource.refusals", whose] = counters.refused
    reading.counts["rmqpool.resource.leaks", (*whose, ("rmqpool.leak.kind", "overdue"))] = counters.leaked
    reading.counts["rmqpool.resource.lost", whose] = counters.lost
    reading.counts["rmqpool.resource.open_failures", whose] = counters.open_failures
    for kind, count in stats.errors.items():
        reading.counts["rmqpool.pool.errors", (*whose, ("error.type", kind))] = count
    _times(reading, "resource", whose, (stats.wait_time, stats.use_time, stats.create_time))
    return reading


def breaker_reading(
    whose: Attributes, state: BreakerState, opened: int, paused: float, stats: BreakerStats | None
) -> Reading:
    """Of a circuit breaker; ``stats`` of one around calls."""
    reading = Reading()
    for one in BreakerState:
        key = (*whose, ("rmqpool.circuit_breaker.state", str(one)))
        reading.gauges["rmqpool.circuit_breaker.state", key] = int(one is state)
    reading.counts["rmqpool.circuit_breaker.opened", whose] = opened
    reading.counts["rmqpool.circuit_breaker.paused", whose] = paused
    for outcome in ("succeeded", "failed", "ignored", "refused") if stats is not None else ():
        key = (*whose, ("rmqpool.circuit_breaker.outcome", outcome))
        reading.counts["rmqpool.circuit_breaker.calls", key] = getattr(stats, outcome)
    return reading


def _channels(reading: Reading, stats: ChannelStats, whose: Attributes) -> None:
    _by_state(reading, "channel", whose, {"used": stats.leased, "idle": stats.idle, "opening": stats.opening})
    _leases(reading, "channel", whose, (stats.capacity, stats.waiting, stats.overdue))
    reading.counts["rmqpool.channel.granted", whose] = stats.granted
    reading.counts["rmqpool.channel.timeouts", whose] = stats.timed_out
    reading.counts["rmqpool.channel.refusals", whose] = stats.refused
    for kind, count in (("overdue", stats.leaked), ("dropped", stats.dropped)):
        reading.counts["rmqpool.channel.leaks", (*whose, ("rmqpool.leak.kind", kind))] = count
    _times(reading, "channel", whose, (stats.wait_time, stats.use_time, stats.create_time))


def _by_state(reading: Reading, what: str, whose: Attributes, states: dict[str, int]) -> None:
    for state, count in states.items():
        reading.gauges[f"rmqpool.{what}.count", (*whose, (f"rmqpool.{what}.state", state))] = count


def _leases(reading: Reading, what: str, whose: Attributes, figures: tuple[int, int, int]) -> None:
    for name, figure in zip(("max", "pending_requests", "overdue"), figures, strict=True):
        reading.gauges[f"rmqpool.{what}.{name}", whose] = figure


def _times(reading: Reading, what: str, whose: Attributes, times: tuple[Times, Times, Times]) -> None:
    for name, one in zip(("wait_time", "use_time", "create_time"), times, strict=True):
        reading.times[f"rmqpool.{what}.{name}", whose] = one
