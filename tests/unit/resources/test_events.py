"""Events of all pools are told alike."""

from rmqpool import PoolEvent, ResourceEventKind


def test_what_pools_of_both_kinds_tell_has_one_name() -> None:
    """A listener of both need not know which pool it was; names and texts agree, so that a log line can be searched for."""
    both = set(PoolEvent.__members__) & set(ResourceEventKind.__members__)
    assert both == {
        *("ACQUIRE_TIMED_OUT", "ACQUIRE_REFUSED", "LEASE_OVERDUE", "LEASE_RETURNED"),
        *("RESIZED", "DRAINED", "POOL_CLOSED"),
    }
    for name in both:
        assert str(PoolEvent[name]) == str(ResourceEventKind[name]) == name.lower()
