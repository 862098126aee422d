"""A replica that would not be asked is a warning with what to do; the primary answers in its place."""

from __future__ import annotations

import pytest

from rmqpool.cli.diagnosis.outbox_replica import replica_finding
from rmqpool.outbox.looking import ReplicaHealth


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (ReplicaHealth(True, 0.0, 10.0), "ok", "all that the primary has"),
        (ReplicaHealth(True, 0.26, 10.0), "ok", "at most 0.3 s behind"),
        (ReplicaHealth(True, 11.0, 10.0, "it lags"), "warning", "pg_stat_replication"),
        (ReplicaHealth(True, None, 10.0, "nothing yet"), "warning", "is it up"),
        (ReplicaHealth(True, 0.0, 10.0, "may not look"), "warning", "may this role look"),
        (ReplicaHealth(False, None, 10.0, "is a primary"), "warning", "standby's URL"),
        (ReplicaHealth(None, None, 10.0, "is away"), "warning", "is it up"),
    ],
)
def test_what_a_replica_is_told_as(found: ReplicaHealth, state: str, words: str) -> None:
    """Its lag, or why it is passed over."""
    finding = replica_finding(found)
    assert (finding.stage, finding.state) == ("replica", state)
    assert words in f"{finding.text} {finding.advice}"
    assert found.why in finding.text
    assert (finding.facts["lag_seconds"], finding.facts["in_recovery"]) == (found.lag, found.in_recovery)
