"""Leased channels: a thread pool of channels on the pure ledger. Callers wait for the pool only, never for a channel.open.

Decisions are the ledger's, taken under one lock; what they ask for (waking waiters, opening and closing channels) is done
here, outside of that lock.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from rmqpool.amqp.channel import BlockingChannel, open_channel
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.link import Link
from rmqpool.core.backoff import Backoff
from rmqpool.core.histogram import Histogram
from rmqpool.core.ledger import Decision, Ledger, Refusal, Snapshot
from rmqpool.errors import (
    ChannelClosedError,
    ConnectionFailedError,
    LeaseReleasedError,
    PoolClosedError,
    PoolTimeoutError,
    RmqpoolError,
    TooManyWaitingError,
)
from rmqpool.leaks import LeakWatch, keep_in_mind, keep_in_view, report_overdue, report_returned
from rmqpool.lease_figures import LeaseFigures, numbers
from rmqpool.pool_events import PoolEventKind
from rmqpool.pool_figures import Figures
from rmqpool.tickets import Ticket

__all__ = ["ChannelLeases", "Ticket"]

_REOPEN = Backoff(0.05, 2.0)
_JITTER = 0.1  # lifetimes end up to this part earlier, so that not all channels end together


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
        *,
        leak_after: float | None = None,
        figures: Figures | None = None,
    ) -> None:
        self.link = link
        self._figures = figures or Figures(None)
        self._wait_time, self._use_time, self._create_time = Histogram(), Histogram(), Histogram()
        self._leaks = LeakWatch(leak_after)
        self._ledger: Ledger[BlockingChannel, Ticket] = Ledger(capacity, max_waiting)
        self._lock = threading.Lock()
        self._max_idle = max_idle
        self._max_lifetime = max_lifetime
        self._random = random_fraction
        self._to_open = 0  # opens asked for that wait for the connection; and those that are under way, or pause
        self._begun = 0
        self._sweeping = False
        self._watching = False
        self._away = 0  # acquires that got nothing as there was no connection
        self._inherited = False
        link.attach(self)
        keep_in_view(self)

    # Borrowers

    def acquire(self, timeout: float) -> Ticket:
        """Lease a channel within ``timeout`` seconds.

        Raises PoolTimeoutError (with the numbers, and the last connection error as its cause), TooManyWaitingError,
        PoolClosedError, or why the broker does not let us in.
        """
        deadline = time.monotonic() + timeout
        while True:
            ticket = Ticket()
            try:
                channel = self._wait(ticket, deadline, timeout).channel
                if channel is not None and channel.is_open:
                    return ticket
                self.release(ticket, reusable=False)  # it died between the grant and here: try again
            except BaseException:  # KeyboardInterrupt, or what another signal handler raised
                self.interrupted(ticket)
                raise

    def _wait(self, ticket: Ticket, deadline: float, timeout: float) -> Ticket:
        with self._lock:
            decision = self._ledger.acquire(ticket, time.monotonic())
        self._act(decision)
        self.link.nudge()
        in_time = ticket.wait(max(0.0, deadline - time.monotonic()))
        if not in_time:
            with self._lock:
                ticket.channel = self._ledger.held_by(ticket)  # also one that was granted in the very last moment
                if ticket.channel is None:
                    self._ledger.abandon(ticket, time.monotonic())  # it waited: nothing follows from that
            if ticket.channel is None:
                late = self._exhausted(timeout)
                raise self._not_granted(PoolEventKind.ACQUIRE_TIMED_OUT, late) from self.link.last_error
        elif ticket.error is not None:
            raise self._not_granted(PoolEventKind.ACQUIRE_REFUSED, ticket.error)
        ticket.granted = time.monotonic()
        with self._lock:
            self._wait_time.add(ticket.granted - ticket.since)
        return ticket

    def _not_granted(self, kind: PoolEventKind, error: RmqpoolError) -> RmqpoolError:
        self._figures.failed(error)
        if not self.link.is_ready or self.link.blocked is not None:
            with self._lock:
                self._away += 1
        self._tell(kind, str(error), error)
        return error

    def release(self, ticket: Ticket, reusable: bool) -> None:
        """Give a leased channel back; one that is not reusable is closed and replaced when somebody needs it."""
        if self._inherited:
            return
        with self._lock:
            now = time.monotonic()
            self._use_time.add(now - ticket.granted)
            decision = self._ledger.release(ticket, now, reusable)
        self._act(decision)
        if ticket.overdue:
            report_returned(ticket, now - ticket.granted, self._tell)

    def interrupted(self, ticket: Ticket) -> None:
        """Its caller was interrupted in the middle of a step, as by Ctrl-C: the channel ends, and no place is lost."""
        with self._lock:
            now = time.monotonic()
            if self._ledger.held_by(ticket) is not None:
                decisions = [self._ledger.release(ticket, now, reusable=False)]
            else:
                decisions = [self._ledger.abandon(ticket, now, cancelled=True).decision]
            decisions += self._ledger.mend(now)
            held = self._ledger.leases(now)
        for lease in held:  # some were not told yet
            lease.waiter.channel = lease.resource
            lease.waiter.wake()
        for decision in decisions:
            self._act(decision)
        self.link.post(self._open)

    def reclaim(self, ticket: Ticket) -> None:
        """A lease was dropped without release: its channel ends, its place is free again (soon, on the I/O thread).

        Whichever thread collects the garbage may be in the middle of anything, so nothing is decided on it.
        """
        keep_in_mind(ticket)
        self.link.post(lambda: self._reclaim(ticket))

    def _reclaim(self, ticket: Ticket) -> None:
        with self._lock:
            self._leaks.dropped += 1
            ticket.overdue = False  # it does not come back
        self._tell(
            PoolEventKind.LEASE_DROPPED,
            f"thread {ticket.thread} dropped a leased channel without releasing it; it was borrowed at:\n"
            f"{ticket.borrowed_at().rstrip()}",
        )
        with suppress(LeaseReleasedError):  # by an interrupted borrower
            self.release(ticket, reusable=False)

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
        """The ledger at this moment, without what :meth:`figures` adds."""
        with self._lock:
            return self._ledger.snapshot(time.monotonic())

    def figures(self) -> LeaseFigures:
        """The figures of this moment."""
        with self._lock:
            now = time.monotonic()
            leases = self._ledger.leases(now)
            return LeaseFigures(
                self._ledger.snapshot(now),
                leases[0].waiter if leases else None,
                self._wait_time.times(),
                self._use_time.times(),
                self._create_time.times(),
                sum(lease.waiter.overdue for lease in leases),
                self._leaks.leaked,
                self._leaks.dropped,
                self._away,
            )

    def tickets(self) -> tuple[Ticket, ...]:
        """Who holds a channel now, longest first; none once the pool is closed or in a forked child."""
        if self._inherited:  # its lock may have been held at the fork
            return ()
        with self._lock:
            leases = self._ledger.leases(time.monotonic())
            return () if self._ledger.closed else tuple(lease.waiter for lease in leases)

    # Acting on decisions

    def _act(self, decision: Decision[BlockingChannel, Ticket]) -> None:
        try:
            self._act_on(decision)
        except BaseException:  # interrupted: each of these may be done twice
            self._act_on(decision)
            raise

    def _act_on(self, decision: Decision[BlockingChannel, Ticket]) -> None:
        for grant in decision.grants:
            grant.waiter.channel = grant.resource
            grant.waiter.wake()
        for ticket, refusal in decision.refuse:
            ticket.error = self._refusal(refusal)
            ticket.wake()
        for channel in decision.discard:
            channel.on_lost = lambda _: None
            self._tell_end(channel)
            channel.close()
        if decision.open:
            self.link.post(self._open)

    def _refusal(self, refusal: Refusal) -> RmqpoolError:
        if refusal is Refusal.CLOSED:
            return PoolClosedError("the pool is closed: open a new one")
        if refusal is Refusal.OPEN_FAILED:
            return self.link.refusal or self.link.circuit_open()
        snapshot = self.figures().ledger
        return TooManyWaitingError(
            f"{snapshot.waiting} callers wait for a channel already (max_waiting={snapshot.max_waiting}; {numbers(snapshot)}): "
            "raise channels_per_connection or max_waiting, or hold channels for less time"
        )

    def _exhausted(self, timeout: float) -> PoolTimeoutError:
        figures = self.figures()
        snapshot, oldest = figures.ledger, figures.oldest
        if not self.link.is_ready:
            return PoolTimeoutError(
                f"no channel within {timeout:g} s: connection {self.link.name} is not ready "
                f"({self.link.why_not_ready()}); {numbers(snapshot)}"
            )
        held = f", by thread {oldest.thread} at:\n{oldest.borrowed_at()}" if oldest else ""
        return PoolTimeoutError(
            f"no channel became free within {timeout:g} s: {numbers(snapshot)}; raise channels_per_connection, or hold "
            f"channels for less time; longest lease {snapshot.oldest_lease:.1f} s{held}"
        )

    # Opening (I/O thread)

    def _open(self) -> None:
        with self._lock:  # what is asked for; an interrupted caller may have posted it twice, or not at all
            self._to_open = self._ledger.opening - self._begun
        if self.link.is_hopeless:
            self._refuse_waiting()
        elif self.link.connection is not None:
            self._start_opening()

    def _start_opening(self) -> None:
        count, self._to_open = self._to_open, 0
        self._begun += count
        for _ in range(count):
            with self._lock:
                generation = self._ledger.generation
            open_channel(self.link, partial(self._on_opened, generation, time.monotonic()))

    def _on_opened(self, generation: int, began: float, result: BlockingChannel | RmqpoolError) -> None:
        self._begun -= 1
        if isinstance(result, BlockingChannel):
            result.on_lost = self._on_lost
            self._sweep_from_now_on()  # neither of the two before: where they find no channel they end
            self._watch_from_now_on()
            lifetime = self._max_lifetime * (1.0 - _JITTER * self._random())
            with self._lock:
                now = time.monotonic()
                self._create_time.add(now - began)
                decision = self._ledger.opened(result, now, generation=generation, lifetime=lifetime)
            self._tell(PoolEventKind.CHANNEL_OPENED, f"channel {result.serial} is open after {now - began:.3f} s")
            self._act(decision)
            return
        self._figures.failed(result)
        with self._lock:
            decision = self._ledger.open_failed(result)
            attempt = max(1, self._ledger.failures_in_a_row)
        if decision.open:
            again = decision.open
            self._begun += again  # after a pause
            self.link.call_later(_REOPEN.delay(attempt, self._random()), lambda: self._open_again(again))

    def _open_again(self, count: int) -> None:
        self._begun -= count
        self._open()

    def _on_lost(self, channel: BlockingChannel) -> None:
        self._tell_end(channel)
        with self._lock:
            decision = self._ledger.lost(channel)
        self._act(decision)

    def _tell_end(self, channel: BlockingChannel) -> None:
        """Once: the I/O thread and whoever releases the channel may both see that it is gone."""
        with self._lock:
            if channel.end_told:
                return
            channel.end_told = True
            error = channel.error
            if isinstance(error, ChannelClosedError):  # of a lost connection, the connection tells
                self._figures.failed(error)
        if error is not None:
            self._tell(PoolEventKind.CHANNEL_LOST, f"channel {channel.serial} is gone: {error}", error)
        else:
            self._tell(
                PoolEventKind.CHANNEL_CLOSED, f"channel {channel.serial} is closed: {channel.unclean or 'not needed'}"
            )

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

    def _watch_from_now_on(self) -> None:
        if not self._watching and self._leaks.leak_after is not None:
            self._watching = True
            self.link.call_later(self._leaks.leak_after, self._look_for_leaks)

    def _look_for_leaks(self) -> None:
        with self._lock:
            leases = self._ledger.leases(time.monotonic())
            overdue = self._leaks.overdue(leases)
            again = bool(leases or self._ledger.idle) and not self._ledger.closed
            delay = self._leaks.next_look(leases)
        report_overdue(overdue, self._leaks.leak_after or 0.0, self._tell)
        self._watching = again
        if again:
            self.link.call_later(delay, self._look_for_leaks)

    def _tell(self, kind: PoolEventKind, sentence: str, error: RmqpoolError | None = None) -> None:
        self._figures.tell(kind, self.link.name, sentence, error)

    # The link speaks

    def link_up(self, connection: Connection, epoch: int) -> None:
        self._start_opening()

    def link_down(self, error: RmqpoolError) -> None: ...
    def link_blocked(self, reason: str) -> None: ...
    def link_unblocked(self) -> None: ...

    def link_refused(self, error: ConnectionFailedError) -> None:
        if self.link.is_hopeless:
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Waiting would not help: everybody who waits is told why at once."""
        count, self._to_open = self._to_open, 0
        with self._lock:
            decisions = [self._ledger.fail_waiting(), *(self._ledger.open_withdrawn() for _ in range(count))]
        for decision in decisions:
            self._act(decision)
