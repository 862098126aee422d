"""A caller that acts on each decision of a ledger in a small world of its own, and judges each by the laws of the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from rmqpool.core.ledger import Decision, Ledger, Refusal

__all__ = ["LedgerWorld"]


class LedgerWorld(RuleBasedStateMachine):
    """A caller that acts on each decision in a small world of its own, and judges each by the laws of the ledger."""

    @initialize(
        capacity=st.sampled_from([4, 1, 2, 3, 4, 5]),
        minimum=st.integers(0, 5),
        max_waiting=st.integers(0, 4),
        growth=st.sampled_from([1, 0, 1, 2]),  # one at a time is what all pools begin with
        order=st.sampled_from(["lifo", "fifo"]),
        keep_idle=st.sampled_from([True, True, True, False]),
        check_after=st.sampled_from([math.inf, 1.0, 0.0]),
    )
    def make(
        self,
        capacity: int,
        minimum: int,
        max_waiting: int,
        growth: int,
        order: str,
        keep_idle: bool,
        check_after: float,
    ) -> None:
        self.capacity, self.minimum = capacity, min(minimum, capacity) if keep_idle else 0
        self.max_waiting, self.growth = max_waiting, growth
        self.order, self.keep_idle, self.check_after = order, keep_idle, check_after
        self.ledger: Ledger[int, int] = Ledger(
            capacity, max_waiting, self.minimum, growth, order=order, keep_idle=keep_idle, check_after=check_after
        )
        self.now = 0.0
        self.tokens = self.resources = 0
        self.waiting: dict[int, float] = {}
        self.held: dict[int, tuple[int, float]] = {}
        self.idle: dict[int, float] = {}
        self.tended: dict[int, float] = {}  # since when nobody has used it
        self.proved: dict[int, float] = {}
        self.dead: set[int] = set()
        self.opening: list[int] = []  # the generation in which each began
        self.generation_of: dict[int, int] = {}
        self.ends_at: dict[int, float] = {}
        self.generation = self.granted = self.refused = self.discarded = self.failures = self.failed_checks = 0
        self.closed = False
        self.largest = 0  # what the sum of all states may be at most
        self.act(self.ledger.fill())

    # The world.

    def size(self) -> int:
        return self.open() + len(self.opening)

    def open(self) -> int:
        return len(self.held) + len(self.idle) + len(self.tended)

    def next_idle(self) -> int | None:
        """The idle resource to lend without a check, if there is one."""
        usable = [one for one in self.idle if not self.outdated(one) and self.now - self.proved[one] < self.check_after]
        return (usable[-1] if self.order == "lifo" else usable[0]) if usable else None

    def lend(self, waiter: int, resource: int) -> None:
        self.held[waiter] = (resource, self.now)
        self.granted += 1

    def keep(self, resource: int, since: float) -> None:
        self.idle[resource] = since
        self.idle = dict(sorted(self.idle.items(), key=lambda item: item[1]))

    def outdated(self, resource: int) -> bool:
        over = self.ends_at[resource] <= self.now
        return self.closed or over or self.generation_of[resource] < self.generation

    def act(
        self,
        decision: Decision[int, int],
        in_hand: int | None = None,
        unjustified: Callable[[int], bool] = lambda _: True,
        refusal: Refusal | None = None,
        since: float | None = None,
    ) -> None:
        """Carries a decision out; ``in_hand`` is the resource that nobody holds, unused since ``since``; ``unjustified``
        says which discard of a resource that is not outdated would have no reason."""
        since = self.now if since is None else since
        unwanted = not self.keep_idle and not self.waiting
        free = set(self.idle) | ({in_hand} - {None})
        for granted in decision.grants:
            assert not self.closed
            assert granted.waiter == next(iter(self.waiting)), "not the first in the queue"
            assert granted.resource in free, "not free"
            assert not self.outdated(granted.resource)
            assert granted.resource == (self.next_idle() if in_hand is None else in_hand), (
                "not the one whose turn it is"
            )
            assert granted.idle_seconds == self.now - self.idle.pop(granted.resource, since)
            del self.waiting[granted.waiter]
            self.lend(granted.waiter, granted.resource)
            free.remove(granted.resource)
        for waiter, reason in decision.refuse:
            assert reason is refusal
            del self.waiting[waiter]
        for resource in decision.discard:
            assert resource in free, "discarded what is not free"
            wanted = not (unwanted and resource == in_hand)
            assert self.outdated(resource) or not (wanted and unjustified(resource)), "discarded without a reason"
            self.idle.pop(resource, None)
            free.remove(resource)
        if in_hand in free:
            assert in_hand is not None
            assert self.keep_idle
            self.keep(in_hand, since)
        for resource in decision.check:
            assert len(self.waiting) > len(self.tended), "checked for nobody"
            self.tended[resource] = self.idle.pop(resource)
        needed = max(len(self.waiting) - len(self.tended), self.minimum - self.open()) - len(self.opening)
        assert 0 <= decision.open <= max(0, needed), "opens that nobody needs"
        assert not (self.closed and decision.open)
        self.opening += [self.generation] * decision.open
        most = max(self.growth, self.minimum - self.open())
        assert not (decision.open and self.growth) or len(self.opening) <= most, "grew too fast"
        assert self.size() <= max(self.capacity, self.largest), "grew over the capacity"
        self.largest = self.size()
        self.refused += len(decision.refuse)
        self.discarded += len(decision.discard)

    def came_back(self, waiter: int) -> tuple[int, bool]:
        """Takes a resource out of its holder's hand; also tells whether there are more than the capacity."""
        over = self.size() > self.capacity
        resource = self.held.pop(waiter)[0]
        self.proved[resource] = self.now
        return resource, over

    # Events that more than one rule brings about.

    def taken(self) -> bool:
        """The shortest way, which changes nothing where it does not lead to a resource."""
        before = self.ledger.snapshot(self.now)
        resource = self.ledger.take(self.tokens, self.now)
        if resource is None:
            assert self.ledger.snapshot(self.now) == before
            return False
        assert not self.waiting, "overtook who waits"
        assert resource == self.next_idle()
        del self.idle[resource]
        self.lend(self.tokens, resource)
        return True

    def acquire(self) -> None:
        full = bool(self.max_waiting) and len(self.waiting) >= self.max_waiting
        self.waiting[self.tokens] = self.now
        decision = self.ledger.acquire(self.tokens, self.now)
        assert bool(decision.refuse) == (self.closed or full)
        self.act(decision, refusal=Refusal.CLOSED if self.closed else Refusal.TOO_MANY_WAITING)

    def tending_ends(self, resource: int, good: bool) -> None:
        over = self.size() > self.capacity
        since = self.tended.pop(resource)
        self.proved[resource] = self.now
        self.failed_checks += not good
        decision = self.ledger.tended(resource, self.now, good)
        assert good or decision.discard == (resource,)
        self.act(decision, resource, unjustified=lambda _: good and not over, since=since)
        assert self.ledger.tended(resource, self.now, good) == Decision(), "counted twice"

    def open_succeeds(self, place: int, lifetime: float) -> None:
        over = self.size() > self.capacity
        began = self.opening.pop(place)
        self.failures = 0
        self.resources += 1
        self.generation_of[self.resources] = began
        self.ends_at[self.resources] = self.now + lifetime
        self.proved[self.resources] = self.now
        decision = self.ledger.opened(self.resources, self.now, generation=began, lifetime=lifetime)
        self.act(decision, self.resources, unjustified=lambda _: not over)
