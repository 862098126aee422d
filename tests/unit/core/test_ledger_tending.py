"""The promises of rmqpool.core.ledger to pools that check, reset, and keep nothing: by example."""

from __future__ import annotations

import pytest

from rmqpool.core.ledger import Decision, Grant, Ledger
from rmqpool.errors import ConfigurationError, LeaseReleasedError

NOTHING: Decision[str, str] = Decision()


def ledger_with_idle(*resources: str, **options: object) -> Ledger[str, str]:
    """A ledger at time 0 in which these are idle, the last one used last."""
    ledger: Ledger[str, str] = Ledger(len(resources), **options)  # type: ignore[arg-type]
    for resource in resources:
        ledger.acquire(resource.lower(), 0)
        ledger.opened(resource, 0)
    for resource in resources:
        ledger.release(resource.lower(), 0)
    return ledger


class TestTheShortestWay:
    def test_take_and_give(self) -> None:
        """They do what acquire and release do, without a decision to carry out, and count the same."""
        ledger = ledger_with_idle("A")
        assert ledger.take("x", 1) == "A"
        assert ledger.holder_of("A") == "x"
        assert ledger.give("x", 3)
        assert (ledger.leased, ledger.idle, ledger.holder_of("A")) == (0, 1, None)
        totals = ledger.snapshot(3).totals
        assert (totals.granted, totals.used_seconds) == (2, 2)

    def test_take_changes_nothing_where_it_ends(self) -> None:
        """Nothing idle, or only what is too old: acquire has to decide."""
        ledger = ledger_with_idle("A", "B", check_after=5)
        before = ledger.snapshot(9)
        assert ledger.take("x", 9) is None
        assert ledger.snapshot(9) == before
        assert ledger.acquire("x", 9) == Decision(check=("B",))

    def test_give_is_not_for_who_waits(self) -> None:
        """A hand-off is a decision: release takes it."""
        ledger = ledger_with_idle("A")
        ledger.take("x", 1)
        ledger.acquire("y", 1)
        assert not ledger.give("x", 2)
        assert ledger.release("x", 2) == Decision(grants=(Grant("y", "A"),))

    def test_pass_on_leaves_what_release_leaves(self) -> None:
        """Who waits longest holds it, and the figures are the same."""

        def crowded() -> Ledger[str, str]:
            ledger = ledger_with_idle("A")
            for waiter in "xyz":
                ledger.acquire(waiter, 1)
            return ledger

        short, long = crowded(), crowded()
        assert short.pass_on("x", 2) == "y"
        assert long.release("x", 2).grants[0].waiter == "y"
        assert short.snapshot(3) == long.snapshot(3)
        assert short.leases(3) == long.leases(3)
        assert short.use_time() == long.use_time()

    def test_pass_on_is_not_for_what_may_not_stay(self) -> None:
        """A resource of an older generation is closed, and nothing has changed before release says so."""
        ledger = ledger_with_idle("A")
        ledger.acquire("x", 1)
        ledger.acquire("y", 1)
        ledger.drain()
        before = ledger.snapshot(9)
        assert ledger.pass_on("x", 2) is None
        assert ledger.snapshot(9) == before
        assert ledger.release("x", 2) == Decision(discard=("A",), open=1)

    def test_give_twice(self) -> None:
        """Is nothing to keep."""
        ledger = ledger_with_idle("A")
        ledger.take("x", 1)
        assert ledger.give("x", 2)
        assert not ledger.give("x", 2)


class TestChecks:
    def test_unused_for_long_is_checked_first(self) -> None:
        """Its caller waits for whatever is free first: the checked one, or another that comes back."""
        ledger = ledger_with_idle("A", "B", check_after=5)
        ledger.take("x", 1)
        assert ledger.acquire("y", 6) == Decision(check=("A",))
        assert ledger.release("x", 7) == Decision(grants=(Grant("y", "B"),))
        assert ledger.tended("A", 8, True) == NOTHING
        assert ledger.acquire("z", 9) == Decision(grants=(Grant("z", "A", 9),))

    def test_one_check_for_each_who_waits(self) -> None:
        """What fails is closed, and the next one is checked, until there is room to open."""
        ledger = ledger_with_idle("A", "B", check_after=0)
        assert ledger.acquire("x", 1) == Decision(check=("B",))
        assert ledger.tended("B", 2, False) == Decision(discard=("B",), check=("A",))
        assert ledger.tended("A", 3, False) == Decision(discard=("A",), open=1)
        assert ledger.snapshot(3).totals.failed_checks == 2

    def test_a_fresh_one_is_preferred(self) -> None:
        """In whatever order: nobody waits for a check while one is idle that needs none."""
        ledger = ledger_with_idle("A", "B", order="fifo", check_after=5)
        ledger.take("x", 1)
        ledger.give("x", 6)  # A, used just now
        assert ledger.acquire("y", 7) == Decision(grants=(Grant("y", "A", 1),))

    def test_a_check_does_not_make_young(self) -> None:
        """What nobody uses ends after max_idle, however often it is checked."""
        ledger = ledger_with_idle("A")
        assert ledger.tend_idle("A")
        ledger.tended("A", 8, True)
        assert ledger.expire(10, max_idle=9) == Decision(discard=("A",))

    def test_who_has_it_is_not_checked(self) -> None:
        """Only what is idle can be taken for a check, and once."""
        ledger = ledger_with_idle("A", "B")
        ledger.take("x", 1)
        assert not ledger.tend_idle("B")
        assert ledger.tend_idle("A")
        assert not ledger.tend_idle("A")

    def test_drained_while_it_is_checked(self) -> None:
        """Then a good check does not help."""
        ledger = ledger_with_idle("A")
        ledger.tend_idle("A")
        ledger.drain()
        assert ledger.tended("A", 1, True) == Decision(discard=("A",))


class TestResets:
    def test_reset_before_the_next_one(self) -> None:
        """What comes back is tended, then handed over; nothing is opened for who waits for it."""
        ledger = ledger_with_idle("A", check_after=0)
        ledger.resize(2)
        ledger.acquire("x", 0)
        ledger.tended("A", 0, True)
        assert ledger.release_to_tend("x", 1) == "A"
        assert ledger.acquire("y", 2) == NOTHING
        assert ledger.tended("A", 3, True) == Decision(grants=(Grant("y", "A", 2),))

    def test_released_once(self) -> None:
        """As any release."""
        ledger = ledger_with_idle("A")
        ledger.take("x", 1)
        ledger.release_to_tend("x", 2)
        with pytest.raises(LeaseReleasedError):
            ledger.release_to_tend("x", 2)

    def test_lost_while_it_is_tended(self) -> None:
        """Its room is free at once, and the end of the check changes nothing."""
        ledger = ledger_with_idle("A")
        ledger.tend_idle("A")
        ledger.acquire("x", 1)
        assert ledger.lost("A") == Decision(open=1)
        assert ledger.tended("A", 2, True) == NOTHING


class TestOrder:
    @pytest.mark.parametrize(("order", "taken"), [("lifo", "BA"), ("fifo", "AB")])
    def test_idle_order(self, order: str, taken: str) -> None:
        """The one used last, or the one unused for longest; by either way."""
        for take in (Ledger.take, lambda ledger, token, now: ledger.acquire(token, now).grants[0].resource):
            ledger = ledger_with_idle("A", "B", order=order)
            assert [take(ledger, token, 1) for token in "xy"] == list(taken)

    def test_unknown_order(self) -> None:
        """Is named."""
        with pytest.raises(ConfigurationError, match='"lifo" or "fifo"'):
            Ledger(1, order="random")


class TestNothingIdle:
    def test_closed_unless_somebody_waits(self) -> None:
        """A null pool hands over, and keeps nothing."""
        ledger: Ledger[str, str] = Ledger(1, keep_idle=False)
        ledger.acquire("a", 0)
        ledger.opened("A", 0)
        ledger.acquire("b", 0)
        assert not ledger.give("a", 1)
        assert ledger.release("a", 1) == Decision(grants=(Grant("b", "A"),))
        assert ledger.release("b", 2) == Decision(discard=("A",))

    def test_opened_for_nobody(self) -> None:
        """An open whose caller has left is closed."""
        ledger: Ledger[str, str] = Ledger(1, keep_idle=False)
        ledger.acquire("a", 0)
        ledger.abandon("a", 1)
        assert ledger.opened("A", 2) == Decision(discard=("A",))

    def test_no_minimum(self) -> None:
        """Kept open and kept idle is the same thing."""
        with pytest.raises(ConfigurationError, match="nothing is kept idle"):
            Ledger(2, minimum=1, keep_idle=False)


def test_the_minimum_opens_side_by_side() -> None:
    """Growth one at a time is for what is above it."""
    ledger: Ledger[str, str] = Ledger(5, minimum=3, max_opening=1)
    assert ledger.fill() == Decision(open=3)
    assert [ledger.acquire(waiter, 0).open for waiter in "abcde"] == [0] * 5
    for resource in "AB":
        ledger.opened(resource, 1)
    assert ledger.opened("C", 1).open == 1
