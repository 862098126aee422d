"""The promises of rmqpool.core.ledger_book: the sizes are checked, and the figures are true."""

from __future__ import annotations

import pytest

from rmqpool.core.ledger import Lease, Ledger
from rmqpool.errors import ConfigurationError


def ledger_with_one_lease() -> Ledger[str, str]:
    """A full ledger in which waiter "a" holds resource "A" since time 0."""
    ledger: Ledger[str, str] = Ledger(1)
    ledger.acquire("a", 0)
    ledger.opened("A", 0)
    return ledger


def test_ages_of_the_oldest_lease_and_waiter() -> None:
    """The oldest lease and waiter are those that began first and have not ended."""
    ledger = ledger_with_one_lease()
    assert ledger.oldest_waiter(1) == 0
    ledger.acquire("b", 2)
    ledger.acquire("c", 3)
    assert (ledger.oldest_lease(10), ledger.oldest_waiter(10)) == (10, 8)
    ledger.release("a", 10)
    assert (ledger.oldest_lease(11), ledger.oldest_waiter(11)) == (1, 8)


def test_snapshot_does_not_change_afterwards() -> None:
    """A snapshot is of its moment, totals included."""
    ledger = ledger_with_one_lease()
    before = ledger.snapshot(1)
    ledger.release("a", 2)
    assert (before.leased, before.idle, before.totals.granted) == (1, 0, 1)
    assert ledger.snapshot(2) != before


def test_repr_tells_the_state() -> None:
    """What one sees in a debugger or a log is the state."""
    ledger = ledger_with_one_lease()
    ledger.acquire("b", 0)
    assert repr(ledger) == "<Ledger 1/1 open: 1 leased, 0 idle; 0 opening, 1 waiting, generation 0>"
    ledger.close()
    assert repr(ledger).endswith("0 waiting, generation 0, closed>")


def test_who_holds_what_is_known_both_ways() -> None:
    """A lease is found by its waiter, by its resource, and in the list with its age; an idle resource has no holder."""
    ledger = ledger_with_one_lease()
    assert (ledger.held_by("a"), ledger.holder_of("A"), ledger.leases(3)) == ("A", "a", (Lease("a", "A", 3),))
    ledger.release("a", 4)
    assert (ledger.held_by("a"), ledger.holder_of("A"), ledger.leases(4)) == (None, None, ())
    assert (ledger.held_by("nobody"), ledger.holder_of("nothing")) == (None, None)


@pytest.mark.parametrize(("capacity", "minimum"), [(0, 0), (-1, 0), (1, 2), (1, -1)])
def test_sizes_out_of_range_are_refused(capacity: int, minimum: int) -> None:
    """Sizes that contradict each other are refused, when made and when resized, and change nothing."""
    with pytest.raises(ConfigurationError, match="max_size"):
        Ledger(capacity, minimum=minimum)
    ledger: Ledger[str, str] = Ledger(3, minimum=1)
    with pytest.raises(ConfigurationError, match="max_size"):
        ledger.resize(capacity, minimum)
    assert (ledger.snapshot(0).capacity, ledger.snapshot(0).minimum) == (3, 1)


@pytest.mark.parametrize("limit", ["max_waiting", "max_opening"])
def test_negative_limits_are_refused(limit: str) -> None:
    """A limit is a number of at least 1, or 0 for none."""
    with pytest.raises(ConfigurationError, match=f"{limit} is -1"):
        Ledger(1, **{limit: -1})
