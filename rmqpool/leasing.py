"""Leased channels: a thread pool of channels on the pure ledger. Callers wait for the pool only, never for a channel.open.

Decisions are the ledger's, taken under one lock; what they ask for (waking waiters, opening and closing channels) is done
here, outside of that lock.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable

from rmqpool.amqp.channel import BlockingChannel, open_channel
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.link import Link
from rmqpool.core.backoff import Backoff
from rmqpool.core.ledger import Decision, Ledger, Refusal, Snapshot
from rmqpool.errors import (
    ConnectionFailedError,
    PoolClosedError,
    PoolTimeoutError,
    RmqpoolError,
    TooManyWaitingError,
)

__all__ = ["ChannelLeases", "Ticket"]

_REOPEN = Backoff(0.05, 2.0)
_TICKETS = itertools.count(1)
_JITTER = 0.1  # lifetimes end up to this part earlier, so that not all channels end together


class Ticket:
    """One acquire: waits, then holds a channel. Compared by identity; remembers who asked, for leak reports."""

    __slots__ = ("borrower", "channel", "error", "number", "ready", "since", "thread")

    def __init__(self) -> None:
        self.number = next(_TICKETS)
        self.ready = threading.Event()
        self.channel: BlockingChannel | None = None
        self.error: RmqpoolError | None = None
        self.since = time.monotonic()
        self.thread = threading.current_thread().name
        callers = traceback.walk_stack(sys._getframe(1))
        # Source lines are looked up when somebody reads them: every lease pays for this, few are ever reported.
        self.borrower = traceback.StackSummary.extract(callers, limit=8, lookup_lines=False)[2:]
        self.borrower.reverse()

    def borrowed_at(self) -> str:
        """The borrower's stack at acquire, newest call last."""
        return "".join(traceback.format_list(self.borrower))

    def __repr__(self) -> str:
        return f"<Ticket {self.number} of thread {self.thread}>"


class ChannelLeases:
    """Channels of one link, leased to threads. All methods are thread-safe."""

    def __init__(
        self,
        link: Link,
        capacity: int,
        max_waiting: int,
        max_idle: float,
        max_lifetime: float,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self.link = link
        self._ledger: Ledger[BlockingChannel, Ticket] = Ledger(capacity, max_waiting)
        self._lock = threading.Lock()
        self._max_idle = max_idle
        self._max_lifetime = max_lifetime
        self._random = random_fraction
        self._to_open = 0  # opens asked for that wait for the connection
        self._sweeping = False
        self._inherited = False
        link.attach(self)

    # Borrowers

    def acquire(self, timeout: float) -> Ticket:
        """Lease a channel within ``timeout`` seconds.

        Raises PoolTimeoutError (with the numbers, and the last connection error as its cause), TooManyWaitingError,
        PoolClosedError, or why the broker does not let us in.
        """
        deadline = time.monotonic() + timeout
        while True:
            ticket = self._wait(deadline, timeout)
            channel = ticket.channel
            if channel is not None and channel.is_open:
                return ticket
            self.release(ticket, reusable=False)  # it died between the grant and here: try again

    def _wait(self, deadline: float, timeout: float) -> Ticket:
        ticket = Ticket()
        try:
            with self._lock:
                decision = self._ledger.acquire(ticket, time.monotonic())
            self._act(decision)
            self.link.nudge()
            in_time = ticket.ready.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:  # KeyboardInterrupt: a grant of this moment goes to the next in line
            with self._lock:
                decision = self._ledger.abandon(ticket, time.monotonic(), cancelled=True).decision
            self._act(decision)
            raise
        if not in_time:
            with self._lock:
                late = self._ledger.held_by(ticket)
                abandoned = None if late is not None else self._ledger.abandon(ticket, time.monotonic())
            if late is not None:
                ticket.channel = late
                return ticket
            if abandoned is not None:
                self._act(abandoned.decision)
            raise self._exhausted(timeout) from self.link.last_error
        if ticket.error is not None:
            raise ticket.error
        return ticket

    def release(self, ticket: Ticket, reusable: bool) -> None:
        """Give a leased channel back; one that is not reusable is closed and replaced when somebody needs it."""
        if self._inherited:
            return
        with self._lock:
            decision = self._ledger.release(ticket, time.monotonic(), reusable)
        self._act(decision)

    def reclaim(self, ticket: Ticket) -> None:
        """A lease was dropped without release: its channel ends, its place is free again (soon, on the I/O thread).

        Whichever thread collects the garbage may be in the middle of anything, so nothing is decided on it.
        """
        self.link.post(lambda: self.release(ticket, reusable=False))

    @property
    def inherited(self) -> bool:
        """True in a forked child: every lease is the parent's."""
        return self._inherited

    def abandon_after_fork(self) -> None:
        """In a forked child: the parent's channels are not ours; releasing them does nothing."""
        self._inherited = True

    # The owner

    def resize(self, capacity: int) -> None:
        """Change the number of channels; leased ones above it are closed as they come back."""
        with self._lock:
            decision = self._ledger.resize(capacity)
        self._act(decision)

    def drain(self) -> None:
        """Replace every channel: idle ones now, leased ones when they come back."""
        with self._lock:
            decision = self._ledger.drain()
        self._act(decision)

    def close(self) -> None:
        """Refuse whoever waits and close every idle channel; leased ones end with their connection."""
        with self._lock:
            decision = self._ledger.close()
        self._act(decision)

    def snapshot(self) -> Snapshot:
        """The figures of this moment."""
        with self._lock:
            return self._ledger.snapshot(time.monotonic())

    def oldest_ticket(self) -> Ticket | None:
        """Who has held a channel for the longest time."""
        with self._lock:
            leases = list(self._ledger.leases(time.monotonic()))
        return max(leases, key=lambda lease: lease.seconds).waiter if leases else None

    # Acting on decisions

    def _act(self, decision: Decision[BlockingChannel, Ticket]) -> None:
        for grant in decision.grants:
            grant.waiter.channel = grant.resource
            grant.waiter.ready.set()
        for ticket, refusal in decision.refuse:
            ticket.error = self._refusal(refusal)
            ticket.ready.set()
        for channel in decision.discard:
            channel.on_lost = lambda _: None
            channel.close()
        if decision.open:
            self.link.post(lambda: self._open(decision.open))

    def _refusal(self, refusal: Refusal) -> RmqpoolError:
        if refusal is Refusal.CLOSED:
            return PoolClosedError("the pool is closed: open a new one")
        if refusal is Refusal.OPEN_FAILED and self.link.refusal is not None:
            return self.link.refusal
        snapshot = self.snapshot()
        return TooManyWaitingError(
            f"{snapshot.waiting} callers wait for a channel already (max_waiting={snapshot.max_waiting}; {_numbers(snapshot)}): "
            "raise channels_per_connection or max_waiting, or hold channels for less time"
        )

    def _exhausted(self, timeout: float) -> PoolTimeoutError:
        snapshot = self.snapshot()
        if not self.link.is_ready:
            return PoolTimeoutError(
                f"no channel within {timeout:g} s: connection {self.link.name} is not ready "
                f"({self.link.why_not_ready()}); {_numbers(snapshot)}"
            )
        oldest = self.oldest_ticket()
        held = f", by thread {oldest.thread} at:\n{oldest.borrowed_at()}" if oldest else ""
        return PoolTimeoutError(
            f"no channel became free within {timeout:g} s: {_numbers(snapshot)}; raise channels_per_connection, or hold "
            f"channels for less time; longest lease {snapshot.oldest_lease:.1f} s{held}"
        )

    # Opening (I/O thread)

    def _open(self, count: int) -> None:
        self._to_open += count
        self._sweep_from_now_on()
        refusal = self.link.refusal
        if refusal is not None:
            self.link_refused(refusal)
        elif self.link.connection is not None:
            self._start_opening()

    def _start_opening(self) -> None:
        count, self._to_open = self._to_open, 0
        for _ in range(count):
            with self._lock:
                generation = self._ledger.generation
            open_channel(self.link, lambda result, generation=generation: self._on_opened(result, generation))  # type: ignore[misc]

    def _on_opened(self, result: BlockingChannel | RmqpoolError, generation: int) -> None:
        if isinstance(result, BlockingChannel):
            result.on_lost = self._on_lost
            lifetime = self._max_lifetime * (1.0 - _JITTER * self._random())
            with self._lock:
                decision = self._ledger.opened(result, time.monotonic(), generation=generation, lifetime=lifetime)
            self._act(decision)
            return
        with self._lock:
            decision = self._ledger.open_failed(result)
            attempt = max(1, self._ledger.failures_in_a_row)
        if decision.open:
            again = decision.open
            self.link.call_later(_REOPEN.delay(attempt, self._random()), lambda: self._open(again))

    def _on_lost(self, channel: BlockingChannel) -> None:
        with self._lock:
            decision = self._ledger.lost(channel)
        self._act(decision)

    def _sweep_from_now_on(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.link.call_later(min(30.0, max(0.5, self._max_idle / 4)), self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        with self._lock:
            decision = self._ledger.expire(time.monotonic(), self._max_idle)
            alive = self._ledger.snapshot(time.monotonic())
        self._act(decision)
        if not alive.closed and (alive.idle or alive.leased):
            self._sweep_from_now_on()

    # The link speaks

    def link_up(self, connection: Connection, epoch: int) -> None:
        self._start_opening()

    def link_down(self, error: RmqpoolError) -> None: ...
    def link_blocked(self, reason: str) -> None: ...
    def link_unblocked(self) -> None: ...

    def link_refused(self, error: ConnectionFailedError) -> None:
        """Waiting would not help at the start: everybody who waits is told why at once."""
        if self.link.refusal is None:
            return
        count, self._to_open = self._to_open, 0
        with self._lock:
            decisions = [self._ledger.fail_waiting(), *(self._ledger.open_withdrawn() for _ in range(count))]
        for decision in decisions:
            self._act(decision)


def _numbers(snapshot: Snapshot) -> str:
    return (
        f"{snapshot.leased} of {snapshot.capacity} channels leased, {snapshot.idle} idle, {snapshot.opening} opening, "
        f"{snapshot.waiting} waiting"
    )
