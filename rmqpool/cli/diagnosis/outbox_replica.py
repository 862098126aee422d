"""From how a replica is to a finding: would status, stalled and dead ask it, and if not, why? Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rmqpool.cli.diagnosis.finding import Finding, warning, well

if TYPE_CHECKING:
    from rmqpool.outbox.looking import ReplicaHealth

__all__ = ["replica_finding"]

_PRIMARY = "status, stalled and dead ask the primary meanwhile"


def replica_finding(found: ReplicaHealth) -> Finding:
    """A warning if it would not be asked: the primary answers in its place."""
    facts = dataclasses.asdict(found)
    facts["lag_seconds"], facts["max_lag_seconds"] = facts.pop("lag"), facts.pop("max_lag")
    if not found.why:
        behind = f"at most {found.lag:.1f} s behind" if found.lag else "it has all that the primary has"
        return well("replica", f"in recovery, {behind}", **facts)
    if found.in_recovery is False:
        advice = f"give a standby's URL; {_PRIMARY}"
    elif found.in_recovery is None or found.lag is None or found.lag <= found.max_lag:
        advice = f"is it up, and may this role look there? {_PRIMARY}"
    else:
        advice = f"pg_stat_replication on the primary tells where it lags; {_PRIMARY}"
    return warning("replica", found.why, advice, **facts)
