"""Whether what a read-only replica says may be told as the state of the outbox: how far behind it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReplicaFacts", "lag_of", "refusal"]


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """What a server says of itself.

    ``is_caught_up``: it has replayed all that the primary had written, or all that it has received while it receives.
    ``replayed_age`` is seconds since the commit that it replayed last (None: none yet), by both servers' clocks, so it may
    be negative.
    """

    in_recovery: bool
    is_caught_up: bool
    replayed_age: float | None


def lag_of(facts: ReplicaFacts) -> float | None:
    """Seconds that it is behind, at most; None if nobody knows. A primary is never behind."""
    if not facts.in_recovery or facts.is_caught_up:
        return 0.0
    # Nothing newer was replayed; while the primary is idle this is more than it is behind, never less.
    return None if facts.replayed_age is None else max(0.0, facts.replayed_age)


def refusal(facts: ReplicaFacts, max_lag: float) -> str:
    """Why it is not used; empty if it is. ``max_lag`` is seconds."""
    if not facts.in_recovery:
        return "what was given as the replica is a primary: it is not in recovery"
    lag = lag_of(facts)
    if lag is None:
        return "the replica has replayed nothing yet, so nobody knows how far behind it is"
    if lag > max_lag:
        return f"the replica is up to {lag:.1f} s behind, and {max_lag:g} s are allowed"
    return ""
