"""A replica is used only while it is one, and near enough; what it is behind is never told as less than it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.replica import ReplicaFacts, lag_of, refusal

ages = st.none() | st.floats(-100, 1e9)
facts = st.builds(ReplicaFacts, st.booleans(), st.booleans(), ages)


@given(facts, st.floats(0.001, 1e6))
def test_a_replica_is_used_only_if_it_is_known_to_be_near_enough(found: ReplicaFacts, max_lag: float) -> None:
    """In recovery, and caught up or with a last commit that is young enough."""
    near = found.is_caught_up or (found.replayed_age is not None and found.replayed_age <= max_lag)
    assert (refusal(found, max_lag) == "") == (found.in_recovery and near)


@given(facts)
def test_a_lag_is_never_negative_and_never_less_than_the_last_commits_age(found: ReplicaFacts) -> None:
    """Unless all was replayed, or it is a primary."""
    lag = lag_of(found)
    if lag is None:
        assert found.in_recovery
        assert not found.is_caught_up
    else:
        assert lag >= 0
        if found.in_recovery and not found.is_caught_up and found.replayed_age is not None:
            assert lag >= found.replayed_age


def test_the_refusal_says_what_is_wrong() -> None:
    """A primary in the place of a replica, one that replayed nothing, one that is too far behind."""
    assert "is a primary" in refusal(ReplicaFacts(False, True, None), 1.0)
    assert "nothing yet" in refusal(ReplicaFacts(True, False, None), 1.0)
    assert refusal(ReplicaFacts(True, False, 12.34), 5.0) == "the replica is up to 12.3 s behind, and 5 s are allowed"
