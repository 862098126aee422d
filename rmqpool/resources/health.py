"""From the figures of a pool of resources to what its verdict is about."""

from __future__ import annotations

from rmqpool.core.verdict import RESOURCES, ChannelFacts, OpeningFacts, PoolFacts
from rmqpool.resources.values import ResourceStats

__all__ = ["facts_of"]


def facts_of(stats: ResourceStats, recent: ResourceStats, error: str, seconds: float, timeout: float) -> PoolFacts:
    """``recent`` has what came in the last ``seconds``; ``error`` names why the last open failed."""
    counters = recent.counters
    return PoolFacts(
        channels=ChannelFacts(
            capacity=stats.max_size,
            leased=stats.leased,
            waiting=stats.waiting,
            max_waiting=stats.max_waiting,
            longest_wait=stats.longest_wait,
            longest_lease=stats.longest_lease,
            overdue=stats.overdue,
            recent_granted=counters.granted,
            recent_timed_out=counters.timed_out,
            recent_refused=counters.refused,
            recent_away=counters.away,
            recent_wait=recent.wait_time.quantile(0.95),
            recent_use=recent.use_time.mean,
            words=RESOURCES,
        ),
        opening=OpeningFacts(
            size=stats.size,
            wanted=stats.opening,
            failures_in_a_row=stats.failures_in_a_row,
            last_error=error,
            recent_lost=counters.lost,
            recent_opened=counters.opened,
            recent_create=recent.create_time.quantile(0.95),
        ),
        closed=stats.closed,
        seconds=seconds,
        timeout=timeout,
    )
