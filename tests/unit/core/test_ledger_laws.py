"""The laws of rmqpool.core.ledger, for any sequence of events. ``test_ledger`` shows them by example."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from rmqpool.core.ledger import AbandonOutcome, Decision, Grant, Refusal
from rmqpool.errors import LeaseReleasedError
from tests.unit.core.ledger_world import LedgerWorld

PAUSES = st.sampled_from([0.0, 0.25, 1.0, 4.0])


class LedgerMachine(LedgerWorld):
    """Any events in any order; after each the laws hold."""

    # Events.

    @rule(count=st.integers(1, 4), pause=PAUSES, shortly=st.booleans())
    def some_acquire(self, count: int, pause: float, shortly: bool) -> None:
        self.now += pause
        for _ in range(count):
            self.tokens += 1
            if not (shortly and self.taken()):
                self.acquire()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reusable=st.sampled_from([True, True, True, False]), pause=PAUSES, shortly=st.booleans())
    def release(self, data: st.DataObject, reusable: bool, pause: float, shortly: bool) -> None:
        self.now += pause
        waiter = data.draw(st.sampled_from(sorted(self.held)))
        resource, over = self.came_back(waiter)
        if shortly and reusable and self.ledger.give(waiter, self.now):
            assert not self.waiting
            assert not over
            assert not self.outdated(resource)
            assert self.keep_idle
            self.keep(resource, self.now)
            return
        if shortly and reusable and (following := self.ledger.pass_on(waiter, self.now)) is not None:
            assert not over
            self.act(Decision(grants=(Grant(following, resource),)), resource)
            return
        decision = self.ledger.release(waiter, self.now, reusable)
        if over or not reusable:
            assert decision.discard == (resource,)
        self.act(decision, resource, unjustified=lambda _: reusable and not over)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), tend=st.booleans())
    def release_of_the_lost(self, data: st.DataObject, tend: bool) -> None:
        waiter = data.draw(st.sampled_from(sorted(self.dead)))
        self.dead.remove(waiter)
        assert not self.ledger.give(waiter, self.now)
        assert self.ledger.pass_on(waiter, self.now) is None
        if tend:
            assert self.ledger.release_to_tend(waiter, self.now) is None
        else:
            assert self.ledger.release(waiter, self.now) == Decision()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), pause=PAUSES)
    def release_to_the_pools_own_hands(self, data: st.DataObject, pause: float) -> None:
        self.now += pause
        waiter = data.draw(st.sampled_from(sorted(self.held)))
        resource, _ = self.came_back(waiter)
        assert self.ledger.release_to_tend(waiter, self.now) == resource
        self.tended[resource] = self.now

    @precondition(lambda self: self.resources)
    @rule(data=st.data())
    def the_pool_takes_an_idle_one(self, data: st.DataObject) -> None:
        resource = data.draw(st.integers(1, self.resources))
        assert self.ledger.tend_idle(resource) == (resource in self.idle)
        if resource in self.idle:
            self.tended[resource] = self.idle.pop(resource)

    @precondition(lambda self: self.tended)
    @rule(data=st.data(), good=st.booleans(), pause=PAUSES)
    def the_pool_has_tended_one(self, data: st.DataObject, good: bool, pause: float) -> None:
        self.now += pause
        self.tending_ends(data.draw(st.sampled_from(sorted(self.tended))), good)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def release_once_too_often(self, data: st.DataObject) -> None:
        waiter = data.draw(st.integers(1, self.tokens))
        if waiter not in self.held and waiter not in self.dead:
            assert not self.ledger.give(waiter, self.now)
            assert self.ledger.pass_on(waiter, self.now) is None
            for end in (self.ledger.release, self.ledger.release_to_tend):
                with pytest.raises(LeaseReleasedError):
                    end(waiter, self.now)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), cancelled=st.booleans())
    def abandon(self, data: st.DataObject, cancelled: bool) -> None:
        waiter = data.draw(st.integers(1, self.tokens))
        resource, over = self.came_back(waiter) if waiter in self.held else (None, False)
        answer = self.ledger.abandon(waiter, self.now, cancelled=cancelled)
        if resource is not None:
            assert answer.outcome is AbandonOutcome.GIVEN_BACK
            self.act(answer.decision, resource, unjustified=lambda _: not over)
            return
        waited = self.waiting.pop(waiter, None) is not None
        assert answer.outcome is (AbandonOutcome.WITHDRAWN if waited else AbandonOutcome.GONE)
        assert answer.decision == Decision()
        self.dead.discard(waiter)

    @precondition(lambda self: self.opening)
    @rule(data=st.data(), lifetime=st.sampled_from([0.5, 5.0, math.inf]))
    def opened(self, data: st.DataObject, lifetime: float) -> None:
        self.open_succeeds(data.draw(st.integers(0, len(self.opening) - 1)), lifetime)

    @precondition(lambda self: self.opening)
    @rule(lifetime=st.sampled_from([0.5, 3.0, 9.0]))
    def all_opened(self, lifetime: float) -> None:
        for _ in range(len(self.opening)):
            self.open_succeeds(0, lifetime)

    @precondition(lambda self: self.opening)
    @rule()
    def open_fails(self) -> None:
        self.opening.pop()
        self.failures += 1
        error = OSError("refused")
        self.act(self.ledger.open_failed(error))
        assert self.ledger.last_open_error is error

    @precondition(lambda self: self.opening)
    @rule()
    def open_is_withdrawn(self) -> None:
        surplus = self.ledger.surplus_opening
        self.opening.pop()
        decision = self.ledger.open_withdrawn()
        assert not (surplus and decision.open), "asked again for what was surplus"
        self.act(decision)

    @precondition(lambda self: self.resources)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        resource = data.draw(st.integers(1, self.resources))
        holder = next((waiter for waiter, (held, _) in self.held.items() if held == resource), None)
        assert self.ledger.holder_of(resource) == holder
        if holder is not None:
            del self.held[holder]
            self.dead.add(holder)
        self.idle.pop(resource, None)
        self.tended.pop(resource, None)
        self.act(self.ledger.lost(resource))

    @rule(capacity=st.integers(1, 6), minimum=st.integers(0, 6))
    def resize(self, capacity: int, minimum: int) -> None:
        self.capacity, self.minimum = capacity, min(minimum, capacity) if self.keep_idle else 0
        surplus = min(len(self.idle), max(0, self.size() - capacity))
        oldest = list(self.idle)[:surplus]
        decision = self.ledger.resize(capacity, self.minimum)
        assert list(decision.discard) == oldest
        self.act(decision, unjustified=lambda resource: resource not in oldest)

    @rule()
    def drain(self) -> None:
        self.generation += 1
        self.act(self.ledger.drain())
        assert not self.idle

    @rule(max_idle=st.sampled_from([1.0, 4.0, math.inf]), pause=PAUSES)
    def expire(self, max_idle: float, pause: float) -> None:
        self.now += pause
        outlived = sum(self.outdated(resource) for resource in self.idle)
        removable = max(outlived, self.size() - self.minimum)
        decision = self.ledger.expire(self.now, max_idle)
        assert len(decision.discard) <= removable, "went below the minimum"
        self.act(decision, unjustified=lambda resource: self.now - self.idle[resource] < max_idle)
        assert not any(self.outdated(resource) for resource in self.idle)
        unused = any(self.now - since >= max_idle for since in self.idle.values())
        assert not unused or self.size() <= self.minimum, "kept what nobody needs"

    @precondition(lambda self: self.waiting)
    @rule()
    def all_who_wait_fail(self) -> None:
        self.act(self.ledger.fail_waiting(), refusal=Refusal.OPEN_FAILED)
        assert not self.waiting

    # Events that a signal handler breaks off in the middle: done by hand as far as they come, then mended.

    @rule()
    def mending_changes_nothing_where_nothing_was_broken_off(self) -> None:
        before = self.ledger.snapshot(self.now)
        assert self.ledger.mend(self.now) == []
        assert self.ledger.snapshot(self.now) == before

    @precondition(lambda self: self.held)
    @rule(data=st.data(), pause=PAUSES)
    def a_release_is_broken_off(self, data: st.DataObject, pause: float) -> None:
        """Its holder has it no more, and it is in no state: it goes on as one that came back."""
        self.now += pause
        waiter = data.draw(st.sampled_from(sorted(self.held)))
        since = self.held[waiter][1]
        resource, over = self.came_back(waiter)
        del self.ledger._leases[waiter]
        self.mended(resource, since, over)

    @precondition(lambda self: self.idle)
    @rule(data=st.data(), pause=PAUSES)
    def an_acquire_is_broken_off(self, data: st.DataObject, pause: float) -> None:
        """What it has taken is not idle any more, and nobody has it."""
        self.now += pause
        resource = data.draw(st.sampled_from(sorted(self.idle)))
        over = self.size() > self.capacity
        since = self.idle.pop(resource)
        self.proved[resource] = self.now
        del self.ledger._idle[resource]
        self.mended(resource, since, over)

    @precondition(lambda self: self.held and self.waiting)
    @rule(data=st.data(), pause=PAUSES)
    def a_hand_off_is_broken_off(self, data: st.DataObject, pause: float) -> None:
        """Who waits longest holds the resource already, and stands in the line still: that is undone, and it is counted."""
        self.now += pause
        waiter = data.draw(st.sampled_from(sorted(self.held)))
        entry = self.ledger._leases[waiter]
        if not self.ledger._fit(entry, self.now):
            return
        following = next(iter(self.waiting))
        resource, _ = self.came_back(waiter)
        del self.ledger._leases[waiter]
        entry.holder, entry.since, entry.proved = following, self.now, self.now
        self.ledger._leases[following] = entry
        assert self.ledger.mend(self.now) == []
        del self.waiting[following]
        self.lend(following, resource)

    def mended(self, resource: int, since: float, over: bool) -> None:
        """The ledger finds it, and decides over it once."""
        decisions = self.ledger.mend(self.now)
        assert len(decisions) == 1
        self.act(decisions[0], resource, unjustified=lambda _: not over, since=since)
        assert self.ledger.mend(self.now) == []

    @precondition(lambda self: self.tokens > 20)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.act(self.ledger.close(), refusal=Refusal.CLOSED)

    # Laws.

    @invariant()
    def nobody_waits_without_need(self) -> None:
        """No idle resource while one waits, unless one is tended for him, and no room left that was not asked for."""
        assert not self.idle or len(self.waiting) <= len(self.tended)
        lacking = self.minimum - self.open()
        limit = min(max(self.growth or self.capacity, lacking), self.capacity)
        unserved = len(self.waiting) - len(self.tended)
        asked = len(self.opening) >= min(unserved, limit) or self.size() >= self.capacity
        assert asked, "a waiter without an open, with room for one"
        kept = self.size() >= self.minimum or len(self.opening) >= limit
        assert kept or self.closed, "fewer than the minimum"

    @invariant()
    def nothing_is_left_after_close(self) -> None:
        """A closed ledger has neither waiters nor idle resources."""
        assert not (self.closed and (self.waiting or self.idle))

    @invariant()
    def figures_are_true(self) -> None:
        """The ledger's figures are those of the world in which its decisions were carried out."""
        now, figures = self.now, self.ledger.snapshot(self.now)
        sizes = (figures.leased, figures.idle, figures.tended, figures.opening, figures.waiting)
        assert sizes == tuple(map(len, (self.held, self.idle, self.tended, self.opening, self.waiting)))
        assert (figures.capacity, figures.generation, figures.closed) == (self.capacity, self.generation, self.closed)
        assert figures.failures_in_a_row == self.failures
        assert figures.oldest_waiter == max((now - since for since in self.waiting.values()), default=0.0)
        assert figures.oldest_lease == max((now - since for _, since in self.held.values()), default=0.0)
        leases = {lease.waiter: (lease.resource, now - lease.seconds) for lease in self.ledger.leases(now)}
        assert leases == self.held
        totals = figures.totals
        assert (totals.granted, totals.refused, totals.discarded) == (self.granted, self.refused, self.discarded)
        assert totals.opened == totals.discarded + totals.lost + self.open(), "a resource leaked"
        assert totals.failed_checks == self.failed_checks
        ended = totals.granted + totals.refused + totals.timed_out + totals.cancelled
        assert self.tokens == ended + figures.waiting, "a waiter leaked"

    def teardown(self) -> None:
        """However it went: after close, and when all came back, nothing is left."""
        if not hasattr(self, "ledger"):
            return
        self.close()
        while self.opening:
            self.opening.pop()
            self.act(self.ledger.open_withdrawn())
        for waiter in sorted(self.held):
            resource, _ = self.came_back(waiter)
            self.act(self.ledger.release(waiter, self.now), resource)
        for waiter in sorted(self.dead):
            self.ledger.release(waiter, self.now)
        for resource in sorted(self.tended):
            self.tending_ends(resource, True)
        assert self.ledger.settled


TestAnySequenceOfEvents = LedgerMachine.TestCase
TestAnySequenceOfEvents.settings = settings(max_examples=80, stateful_step_count=40)
