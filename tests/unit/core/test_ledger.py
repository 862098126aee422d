"""The promises of rmqpool.core.ledger: by example. ``test_ledger_laws`` has them for any sequence of events."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from rmqpool.core.ledger import Abandoned, AbandonOutcome, Decision, Grant, Lease, Ledger, Refusal
from rmqpool.errors import LeaseReleasedError

NOTHING: Decision[str, str] = Decision()


def grant(waiter: str, resource: str, idle_seconds: float = 0.0) -> Decision[str, str]:
    return Decision(grants=(Grant(waiter, resource, idle_seconds),))


def ledger_with_leases(*waiters: str, capacity: int | None = None, max_waiting: int = 0) -> Ledger[str, str]:
    """A ledger at time 0 in which waiter "a" holds resource "A", and so on; full unless a capacity is given."""
    ledger: Ledger[str, str] = Ledger(capacity or len(waiters), max_waiting)
    for waiter in waiters:
        assert ledger.acquire(waiter, 0) == Decision(open=1)
        assert ledger.opened(waiter.upper(), 0) == grant(waiter, waiter.upper())
    return ledger


class TestAcquire:
    def test_first_acquire_asks_for_one_open(self) -> None:
        """Nothing is opened before somebody needs it, and then one."""
        ledger: Ledger[str, str] = Ledger(4)
        assert ledger.fill() == NOTHING
        assert ledger.acquire("a", 0) == Decision(open=1)
        assert (ledger.waiting, ledger.opening, ledger.leased) == (1, 1, 0)

    def test_idle_resource_is_granted_at_once(self) -> None:
        """An acquire takes what is idle, and learns for how long it was unused."""
        ledger = ledger_with_leases("a")
        ledger.release("a", 5)
        assert ledger.acquire("b", 12) == grant("b", "A", idle_seconds=7)

    def test_last_used_is_taken_first(self) -> None:
        """Idle resources are taken last in, first out, so that surplus ones become old and can be closed."""
        ledger = ledger_with_leases("a", "b", "c")
        for waiter in ("b", "a", "c"):
            ledger.release(waiter, 1)
        assert [ledger.acquire(waiter, 1).grants[0].resource for waiter in ("x", "y", "z")] == ["C", "A", "B"]

    def test_no_more_opens_than_capacity(self) -> None:
        """However many wait, the capacity is never exceeded."""
        ledger: Ledger[str, int] = Ledger(3)
        assert sum(ledger.acquire(waiter, 0).open for waiter in range(10)) == 3
        assert ledger.waiting == 10

    def test_no_more_opens_than_needed(self) -> None:
        """A waiter that left did not leave a second open behind: the next one uses the open that is under way."""
        ledger: Ledger[str, str] = Ledger(3)
        assert ledger.acquire("a", 0).open == 1
        ledger.abandon("a", 1)
        assert ledger.acquire("b", 1) == NOTHING
        assert ledger.opened("R", 2) == grant("b", "R")

    def test_growth_can_be_limited(self) -> None:
        """With max_opening 1 the pool grows one at a time: the next open is asked for when the first has ended."""
        ledger: Ledger[str, str] = Ledger(3, max_opening=1)
        assert [ledger.acquire(waiter, 0).open for waiter in "abc"] == [1, 0, 0]
        assert ledger.opened("R", 1) == Decision(grants=(Grant("a", "R"),), open=1)

    def test_max_waiting_refuses_at_once(self) -> None:
        """One waiter too many is refused; those who wait are not disturbed."""
        ledger = ledger_with_leases("a", max_waiting=1)
        assert ledger.acquire("b", 0) == NOTHING
        assert ledger.acquire("c", 0) == Decision(refuse=(("c", Refusal.TOO_MANY_WAITING),))
        assert ledger.release("a", 1) == grant("b", "A")

    def test_token_in_use_is_an_error(self) -> None:
        """A token stands for one acquire: reusing it while it waits, holds, or holds something lost is a mistake."""
        ledger = ledger_with_leases("a", "b")
        ledger.acquire("c", 0)
        ledger.lost("B")
        for token in ("a", "b", "c"):
            with pytest.raises(ValueError, match="in use"):
                ledger.acquire(token, 1)


class TestRelease:
    def test_waiters_are_served_in_order(self) -> None:
        """A returned resource goes directly to who waits longest, without becoming idle."""
        ledger = ledger_with_leases("a")
        for waiter in "bcd":
            ledger.acquire(waiter, 0)
        assert ledger.release("a", 1) == grant("b", "A")
        assert ledger.release("b", 2) == grant("c", "A")
        assert ledger.release("c", 3) == grant("d", "A")

    def test_broken_resource_is_discarded(self) -> None:
        """What cannot be used again is closed; with nobody waiting nothing is opened for it."""
        ledger = ledger_with_leases("a")
        assert ledger.release("a", 1, reusable=False) == Decision(discard=("A",))
        assert (ledger.leased, ledger.idle, ledger.opening) == (0, 0, 0)

    def test_broken_resource_is_replaced_for_who_waits(self) -> None:
        """A broken resource leaves its room to the next: one open, for the waiter."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        assert ledger.release("a", 1, reusable=False) == Decision(discard=("A",), open=1)
        assert ledger.opened("B", 2) == grant("b", "B")

    def test_double_release_is_an_error_and_harms_nobody(self) -> None:
        """The second release of a lease cannot take the resource away from its next holder."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        ledger.release("a", 1)
        with pytest.raises(LeaseReleasedError, match="'a' holds nothing"):
            ledger.release("a", 2)
        assert ledger.holder_of("A") == "b"


class TestAbandon:
    def test_timeout_leaves_the_queue(self) -> None:
        """Who gave up is skipped: the resource goes to the next."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        ledger.acquire("c", 0)
        assert ledger.abandon("b", 5) == Abandoned(AbandonOutcome.WITHDRAWN, NOTHING)
        assert ledger.release("a", 6) == grant("c", "A")

    def test_grant_in_the_moment_of_the_timeout_goes_to_the_next(self) -> None:
        """The race of a grant and a timeout leaks nothing: the answer says so, and the next waiter gets it."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        ledger.acquire("c", 0)
        assert ledger.release("a", 5) == grant("b", "A")
        assert ledger.abandon("b", 5) == Abandoned(AbandonOutcome.GIVEN_BACK, grant("c", "A"))

    def test_grant_in_the_moment_of_the_timeout_may_be_used(self) -> None:
        """Instead of giving a late grant back, its waiter may look and keep it."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        assert ledger.held_by("b") is None
        ledger.release("a", 5)
        assert ledger.held_by("b") == "A"
        assert ledger.release("b", 6) == NOTHING

    def test_given_back_resource_becomes_idle(self) -> None:
        """With nobody else waiting the late grant is idle again, as good as before."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        ledger.release("a", 5)
        assert ledger.abandon("b", 5) == Abandoned(AbandonOutcome.GIVEN_BACK, NOTHING)
        assert ledger.acquire("c", 6) == grant("c", "A", idle_seconds=1)

    def test_abandon_after_the_end_is_harmless(self) -> None:
        """A timeout that meets a refusal, a release or a lost resource finds nothing left to do."""
        ledger = ledger_with_leases("a", "b")
        ledger.acquire("c", 0)
        ledger.release("a", 1)
        ledger.lost("B")
        ledger.close()
        for waiter in ("a", "b", "never seen"):
            assert ledger.abandon(waiter, 2) == Abandoned(AbandonOutcome.GONE, NOTHING)

    def test_timeouts_and_cancellations_are_counted_apart(self) -> None:
        """Only a timeout says that the pool is too small."""
        ledger = ledger_with_leases("a")
        for waiter, cancelled in (("b", False), ("c", True), ("d", True)):
            ledger.acquire(waiter, 0)
            ledger.abandon(waiter, 1, cancelled=cancelled)
        totals = ledger.snapshot(1).totals
        assert (totals.timed_out, totals.cancelled, totals.given_back) == (1, 2, 0)


class TestOpen:
    def test_failed_open_keeps_capacity(self) -> None:
        """After any number of failures the waiter's open is still asked for, and served when one succeeds."""
        ledger: Ledger[str, str] = Ledger(1)
        ledger.acquire("a", 0)
        for _ in range(100):
            assert ledger.open_failed(OSError("refused")) == Decision(open=1)
        assert ledger.opened("A", 9) == grant("a", "A")

    def test_failures_in_a_row_count_until_a_success(self) -> None:
        """The figure is the attempt number for a backoff; the last error stays readable."""
        ledger: Ledger[str, str] = Ledger(2, minimum=1)
        ledger.fill()
        error = OSError("refused")
        ledger.open_failed(OSError("earlier"))
        ledger.open_failed(error)
        assert (ledger.failures_in_a_row, ledger.last_open_error) == (2, error)
        ledger.opened("A", 1)
        assert (ledger.failures_in_a_row, ledger.last_open_error) == (0, error)

    def test_failed_open_is_not_repeated_for_nobody(self) -> None:
        """When all waiters have left, a failed open is not tried again."""
        ledger: Ledger[str, str] = Ledger(1)
        ledger.acquire("a", 0)
        ledger.abandon("a", 1)
        assert ledger.open_failed(OSError("refused")) == NOTHING

    def test_surplus_open_can_be_withdrawn(self) -> None:
        """A delayed open that nobody needs any more is told apart, and withdrawn without counting as a failure."""
        ledger: Ledger[str, str] = Ledger(2)
        ledger.acquire("a", 0)
        ledger.acquire("b", 0)
        ledger.abandon("a", 1)
        assert ledger.surplus_opening == 1
        assert ledger.open_withdrawn() == NOTHING
        assert (ledger.surplus_opening, ledger.opening, ledger.failures_in_a_row) == (0, 1, 0)

    def test_failure_for_good_refuses_all_who_wait(self) -> None:
        """When trying again is pointless, all waiters are told at once; a later acquire tries again."""
        ledger: Ledger[str, str] = Ledger(1)
        ledger.acquire("a", 0)
        ledger.acquire("b", 0)
        refused = (("a", Refusal.OPEN_FAILED), ("b", Refusal.OPEN_FAILED))
        assert ledger.fail_waiting() == Decision(refuse=refused)
        assert ledger.open_failed(PermissionError("403")) == NOTHING
        assert ledger.acquire("c", 1) == Decision(open=1)

    def test_minimum_is_kept_open(self) -> None:
        """The minimum is asked for at the start, and again when one of them is lost or outlived."""
        ledger: Ledger[str, str] = Ledger(4, minimum=2)
        assert ledger.fill() == Decision(open=2)
        assert ledger.opened("A", 0) == NOTHING
        assert ledger.opened("B", 0, lifetime=10) == NOTHING
        assert ledger.lost("A") == Decision(open=1)
        assert ledger.expire(10) == Decision(discard=("B",), open=1)

    @pytest.mark.parametrize("report", [lambda led: led.opened("B", 1), lambda led: led.open_withdrawn()])
    def test_report_without_a_request_is_an_error(self, report: Callable[[Ledger[str, str]], object]) -> None:
        """An open is reported exactly once; one too many is a mistake of the caller and changes nothing."""
        ledger = ledger_with_leases("a")
        before = ledger.snapshot(1)
        with pytest.raises(ValueError, match="exactly once"):
            report(ledger)
        assert ledger.snapshot(1) == before

    def test_same_resource_twice_is_an_error(self) -> None:
        """A resource that is in the ledger cannot come in again."""
        ledger = ledger_with_leases("a", capacity=2)
        ledger.acquire("b", 0)
        with pytest.raises(ValueError, match="already"):
            ledger.opened("A", 1)
        assert ledger.opened("B", 1) == grant("b", "B")

    @pytest.mark.parametrize("lifetime", [0, -1, math.nan])
    def test_lifetime_must_be_above_zero(self, lifetime: float) -> None:
        """A resource that is over before it begins would be opened for ever: refused."""
        ledger: Ledger[str, str] = Ledger(1)
        ledger.acquire("a", 0)
        with pytest.raises(ValueError, match="lifetime"):
            ledger.opened("A", 1, lifetime=lifetime)
        assert ledger.opening == 1


class TestLost:
    def test_lost_while_leased_frees_the_room_at_once(self) -> None:
        """The next waiter need not wait for the holder of the dead resource, whose release then does nothing."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        assert ledger.lost("A") == Decision(open=1)
        assert ledger.opened("B", 1) == grant("b", "B")
        assert ledger.release("a", 2) == NOTHING
        with pytest.raises(LeaseReleasedError):
            ledger.release("a", 3)

    def test_lost_while_idle_is_never_granted(self) -> None:
        """An idle resource that died is forgotten; the next acquire opens another."""
        ledger = ledger_with_leases("a")
        ledger.release("a", 1)
        assert ledger.lost("A") == NOTHING
        assert ledger.acquire("b", 2) == Decision(open=1)

    def test_lost_after_discard_is_harmless(self) -> None:
        """Closing a discarded resource may be reported as a loss: nothing to do, nothing counted."""
        ledger = ledger_with_leases("a")
        ledger.release("a", 1, reusable=False)
        assert ledger.lost("A") == NOTHING
        assert ledger.snapshot(1).totals.lost == 0


class TestMend:
    """After an event that a signal handler broke off; ``test_ledger_laws`` does that to any state."""

    def test_a_hand_off_that_was_broken_off_is_counted(self) -> None:
        """Who waited holds the resource already: he waits no more, and has been granted it."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 1.0)
        entry = ledger._leases.pop("a")
        entry.holder = "b"
        ledger._leases["b"] = entry
        before = ledger.snapshot(1.0).totals.granted
        assert ledger.mend(1.0) == []
        assert ledger.snapshot(1.0).waiting == 0
        assert ledger.snapshot(1.0).totals.granted == before + 1


class TestResize:
    def test_grow_serves_who_waits(self) -> None:
        """More capacity is used at once for those who wait, and for no more."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        assert ledger.resize(5) == Decision(open=1)

    def test_shrink_discards_idle_longest_unused_first(self) -> None:
        """Surplus idle resources go at once; the one used last stays."""
        ledger = ledger_with_leases("a", "b", "c")
        for waiter in "bac":
            ledger.release(waiter, 1)
        assert ledger.resize(1) == Decision(discard=("B", "A"))

    def test_shrink_waits_for_leases(self) -> None:
        """Leased resources are not taken away: surplus ones are discarded as they return, even if others wait."""
        ledger = ledger_with_leases("a", "b", "c")
        ledger.acquire("d", 0)
        assert ledger.resize(2) == NOTHING
        assert ledger.release("a", 1) == Decision(discard=("A",))
        assert ledger.release("b", 1) == grant("d", "B")

    def test_shrink_discards_what_opens_too_late(self) -> None:
        """An open that finishes over the new capacity is discarded."""
        ledger: Ledger[str, str] = Ledger(2)
        ledger.acquire("a", 0)
        ledger.acquire("b", 0)
        ledger.resize(1)
        assert ledger.opened("A", 1) == Decision(discard=("A",))
        assert ledger.opened("B", 1) == grant("a", "B")


class TestDrain:
    def test_drain_replaces_everything(self) -> None:
        """Idle resources go at once, leased ones when they come back; new ones stay."""
        ledger = ledger_with_leases("a", "b")
        ledger.release("a", 1)
        assert ledger.drain() == Decision(discard=("A",))
        assert ledger.release("b", 2) == Decision(discard=("B",))
        assert ledger.acquire("c", 3) == Decision(open=1)
        ledger.opened("C", 3)
        assert ledger.release("c", 4) == NOTHING
        assert (ledger.generation, ledger.idle) == (1, 1)

    def test_open_under_way_during_a_drain_is_replaced(self) -> None:
        """An open that began before the drain may use the old address or password: discarded, and asked for again."""
        ledger: Ledger[str, str] = Ledger(1)
        ledger.acquire("a", 0)
        began = ledger.generation
        ledger.drain()
        assert ledger.opened("A", 1, generation=began) == Decision(discard=("A",), open=1)
        assert ledger.opened("B", 2, generation=ledger.generation) == grant("a", "B")


class TestExpire:
    def test_unused_resources_go_down_to_the_minimum(self) -> None:
        """Idle for too long: closed, the longest unused first, but the minimum stays open."""
        ledger = ledger_with_leases("a", "b", "c")
        ledger.resize(3, minimum=1)
        for moment, waiter in enumerate("bac", start=1):
            ledger.release(waiter, moment)
        assert ledger.expire(10.5, max_idle=9) == Decision(discard=("B",))
        assert ledger.expire(99, max_idle=9) == Decision(discard=("A",))
        assert ledger.idle == 1

    def test_lifetime_ends_idle_leased_and_taken(self) -> None:
        """Past its lifetime a resource is not kept idle, not handed over, and not granted from the idle ones."""
        ledger: Ledger[str, str] = Ledger(3)
        for waiter in "abc":
            ledger.acquire(waiter, 0)
        for resource in "ABC":
            ledger.opened(resource, 0, lifetime=10)
        ledger.release("a", 1)
        assert ledger.expire(9) == NOTHING
        assert ledger.expire(10) == Decision(discard=("A",))
        ledger.release("b", 9)
        assert ledger.acquire("d", 10) == Decision(discard=("B",), open=1)
        assert ledger.release("c", 10) == Decision(discard=("C",))


class TestClose:
    def test_close_refuses_waiters_and_discards_idle(self) -> None:
        """Whoever waits is told, whatever is idle is closed, and a second close does nothing."""
        ledger = ledger_with_leases("a")
        ledger.acquire("b", 0)
        assert ledger.close() == Decision(refuse=(("b", Refusal.CLOSED),))
        assert ledger.release("a", 1) == Decision(discard=("A",))
        assert ledger.close() == NOTHING

    def test_nothing_is_granted_after_close(self) -> None:
        """After close an acquire is refused, and what finishes opening is discarded; then the ledger is settled."""
        ledger: Ledger[str, str] = Ledger(2, minimum=2)
        ledger.fill()
        ledger.opened("A", 0)
        assert ledger.close() == Decision(discard=("A",))
        assert ledger.acquire("b", 1) == Decision(refuse=(("b", Refusal.CLOSED),))
        assert (ledger.settled, ledger.surplus_opening) == (False, 1)
        assert ledger.opened("B", 1) == Decision(discard=("B",))
        assert ledger.settled

    def test_close_by_force(self) -> None:
        """Who is late is named with its resource; reported as lost, its late release is harmless."""
        ledger = ledger_with_leases("a")
        ledger.close()
        assert ledger.leases(4) == (Lease("a", "A", 4),)
        ledger.lost("A")
        assert not ledger.settled
        ledger.release("a", 5)
        assert ledger.settled
