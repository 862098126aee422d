"""The laws of rmqpool.core.ledger, for any sequence of events. ``test_ledger`` shows them by example."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmqpool.core.ledger import AbandonOutcome, Decision, Ledger, Refusal
from rmqpool.errors import LeaseReleasedError

PAUSES = st.sampled_from([0.0, 0.25, 1.0, 4.0])


class LedgerMachine(RuleBasedStateMachine):
    """A caller that acts on each decision in a small world of its own, and judges each by the laws of the ledger."""

    @initialize(
        capacity=st.integers(1, 5), minimum=st.integers(0, 5), max_waiting=st.integers(0, 4), growth=st.integers(0, 3)
    )
    def make(self, capacity: int, minimum: int, max_waiting: int, growth: int) -> None:
        self.capacity, self.minimum = capacity, min(minimum, capacity)
        self.max_waiting, self.growth = max_waiting, growth
        self.ledger: Ledger[int, int] = Ledger(capacity, max_waiting, self.minimum, growth)
        self.now = 0.0
        self.tokens = self.resources = 0
        self.waiting: dict[int, float] = {}
        self.held: dict[int, tuple[int, float]] = {}
        self.idle: dict[int, float] = {}
        self.dead: set[int] = set()
        self.opening: list[int] = []  # the generation in which each began
        self.generation_of: dict[int, int] = {}
        self.ends_at: dict[int, float] = {}
        self.generation = self.granted = self.refused = self.discarded = self.failures = 0
        self.closed = False
        self.largest = 0  # what the sum of all states may be at most
        self.act(self.ledger.fill())

    # The world.

    def size(self) -> int:
        return len(self.held) + len(self.idle) + len(self.opening)

    def outdated(self, resource: int) -> bool:
        over = self.ends_at[resource] <= self.now
        return self.closed or over or self.generation_of[resource] < self.generation

    def act(
        self,
        decision: Decision[int, int],
        in_hand: int | None = None,
        unjustified: Callable[[int], bool] = lambda _: True,
        refusal: Refusal | None = None,
    ) -> None:
        """Carries a decision out; ``in_hand`` is the resource that nobody holds, ``unjustified`` says which discard of
        a resource that is not outdated would have no reason."""
        free = set(self.idle) | ({in_hand} - {None})
        for granted in decision.grants:
            assert not self.closed
            assert granted.waiter == next(iter(self.waiting)), "not the first in the queue"
            assert granted.resource in free, "not free"
            assert not self.outdated(granted.resource)
            if in_hand is None:
                current = [resource for resource in self.idle if not self.outdated(resource)]
                assert granted.resource == current[-1], "not the one used last"
            assert granted.idle_seconds == self.now - self.idle.pop(granted.resource, self.now)
            del self.waiting[granted.waiter]
            self.held[granted.waiter] = (granted.resource, self.now)
            free.remove(granted.resource)
        for waiter, reason in decision.refuse:
            assert reason is refusal
            del self.waiting[waiter]
        for resource in decision.discard:
            assert resource in free, "discarded what is not free"
            assert self.outdated(resource) or not unjustified(resource), "discarded without a reason"
            self.idle.pop(resource, None)
            free.remove(resource)
        if in_hand in free:
            assert in_hand is not None
            self.idle[in_hand] = self.now
        needed = max(len(self.waiting), self.minimum - len(self.held) - len(self.idle)) - len(self.opening)
        assert 0 <= decision.open <= max(0, needed), "opens that nobody needs"
        assert not (self.closed and decision.open)
        self.opening += [self.generation] * decision.open
        most = max(self.growth, self.minimum - len(self.held) - len(self.idle))
        assert not (decision.open and self.growth) or len(self.opening) <= most, "grew too fast"
        assert self.size() <= max(self.capacity, self.largest), "grew over the capacity"
        self.largest = self.size()
        self.granted += len(decision.grants)
        self.refused += len(decision.refuse)
        self.discarded += len(decision.discard)

    def came_back(self, waiter: int) -> tuple[int, bool]:
        """Takes a resource out of its holder's hand; also tells whether there are more than the capacity."""
        over = self.size() > self.capacity
        return self.held.pop(waiter)[0], over

    # Events.

    @rule(count=st.integers(1, 4), pause=PAUSES)
    def some_acquire(self, count: int, pause: float) -> None:
        self.now += pause
        for _ in range(count):
            self.acquire()

    def acquire(self) -> None:
        self.tokens += 1
        full = bool(self.max_waiting) and len(self.waiting) >= self.max_waiting
        self.waiting[self.tokens] = self.now
        decision = self.ledger.acquire(self.tokens, self.now)
        assert bool(decision.refuse) == (self.closed or full)
        self.act(decision, refusal=Refusal.CLOSED if self.closed else Refusal.TOO_MANY_WAITING)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reusable=st.sampled_from([True, True, True, False]), pause=PAUSES)
    def release(self, data: st.DataObject, reusable: bool, pause: float) -> None:
        self.now += pause
        waiter = data.draw(st.sampled_from(sorted(self.held)))
        resource, over = self.came_back(waiter)
        decision = self.ledger.release(waiter, self.now, reusable)
        if over or not reusable:
            assert decision.discard == (resource,)
        self.act(decision, resource, unjustified=lambda _: reusable and not over)

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def release_of_the_lost(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(sorted(self.dead)))
        self.dead.remove(waiter)
        assert self.ledger.release(waiter, self.now) == Decision()

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def release_once_too_often(self, data: st.DataObject) -> None:
        waiter = data.draw(st.integers(1, self.tokens))
        if waiter not in self.held and waiter not in self.dead:
            with pytest.raises(LeaseReleasedError):
                self.ledger.release(waiter, self.now)

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

    def open_succeeds(self, place: int, lifetime: float) -> None:
        over = self.size() > self.capacity
        began = self.opening.pop(place)
        self.failures = 0
        self.resources += 1
        self.generation_of[self.resources] = began
        self.ends_at[self.resources] = self.now + lifetime
        decision = self.ledger.opened(self.resources, self.now, generation=began, lifetime=lifetime)
        self.act(decision, self.resources, unjustified=lambda _: not over)

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
        self.act(self.ledger.lost(resource))

    @rule(capacity=st.integers(1, 6), minimum=st.integers(0, 6))
    def resize(self, capacity: int, minimum: int) -> None:
        self.capacity, self.minimum = capacity, min(minimum, capacity)
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

    @precondition(lambda self: self.tokens > 20)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.act(self.ledger.close(), refusal=Refusal.CLOSED)

    # Laws.

    @invariant()
    def nobody_waits_without_need(self) -> None:
        """No idle resource while one waits, and no room left that was not asked for."""
        assert not (self.waiting and self.idle)
        lacking = self.minimum - len(self.held) - len(self.idle)
        limit = min(max(self.growth or self.capacity, lacking), self.capacity)
        asked = len(self.opening) >= min(len(self.waiting), limit) or self.size() >= self.capacity
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
        sizes = (figures.leased, figures.idle, figures.opening, figures.waiting)
        assert sizes == (len(self.held), len(self.idle), len(self.opening), len(self.waiting))
        assert (figures.capacity, figures.generation, figures.closed) == (self.capacity, self.generation, self.closed)
        assert figures.failures_in_a_row == self.failures
        assert figures.oldest_waiter == max((now - since for since in self.waiting.values()), default=0.0)
        assert figures.oldest_lease == max((now - since for _, since in self.held.values()), default=0.0)
        leases = {lease.waiter: (lease.resource, now - lease.seconds) for lease in self.ledger.leases(now)}
        assert leases == self.held
        totals = figures.totals
        assert (totals.granted, totals.refused, totals.discarded) == (self.granted, self.refused, self.discarded)
        assert totals.opened == totals.discarded + totals.lost + figures.leased + figures.idle, "a resource leaked"
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
        assert self.ledger.settled


TestAnySequenceOfEvents = LedgerMachine.TestCase
TestAnySequenceOfEvents.settings = settings(max_examples=100, stateful_step_count=40)
