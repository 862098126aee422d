"""How the doctor's own pool fared: a round trip on every connection, and the pool's verdict on itself."""

from __future__ import annotations

from rmqpool.cli.diagnosis.finding import Finding, problem, warning, well
from rmqpool.core.verdict import PoolState
from rmqpool.errors import RmqpoolError
from rmqpool.pool import ConnectionPool

__all__ = ["look_at_pool"]

_CHECK = 5.0  # seconds for all connections
_SLOW = 1.0  # seconds for one round trip


def look_at_pool(pool: ConnectionPool) -> Finding:
    """The round trip in seconds, and what the pool recommends."""
    try:
        seconds = pool.check(_CHECK)
    except RmqpoolError as error:
        return problem("pool", f"a connection did not answer: {error}", pool.health().recommendation)
    health = pool.health()
    facts = {"round_trip": round(seconds, 6), "state": str(health.state), "kind": health.kind}
    if health.state is PoolState.DOWN:
        return problem("pool", health.reason, health.recommendation, **facts)
    if health.state is PoolState.DEGRADED:
        return warning("pool", health.reason, health.recommendation, **facts)
    if seconds > _SLOW:
        return warning(
            "pool",
            f"a round trip took {seconds:.2f} s: every call waits for as long",
            "run the service near its broker, and look whether broker or network is overloaded",
            **facts,
        )
    return well("pool", f"a round trip on each connection within {1000 * seconds:.1f} ms; {health.reason}", **facts)
