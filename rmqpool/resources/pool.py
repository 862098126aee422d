"""A pool of resources for threads. Callers wait for the pool only: what blocks runs on the pool's own threads.

Decisions are the ledger's, taken under one lock; what they ask for (waking, opening, checking, closing) is done outside of it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import time
import warnings
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rmqpool.core.backoff import Backoff
from rmqpool.core.ledger import Refusal
from rmqpool.errors import ConfigurationError, LeaseReleasedError, PoolClosedError
from rmqpool.pool_events import EventListener, PoolEventKind
from rmqpool.resources.acting import ThreadedBase, Waiter, wake
from rmqpool.resources.base import Slot
from rmqpool.resources.lease import Lease
from rmqpool.resources.values import ResourceOptions, ResourceStats

if TYPE_CHECKING:
    from rmqpool.breaker import Breaker

__all__ = ["ResourcePool"]

T = TypeVar("T")

_AT_EXIT = 1.0  # seconds that an interpreter's end waits for resources to be closed
_monotonic = time.monotonic


class ResourcePool(ThreadedBase[T]):
    """A pool of anything that can be opened. Thread-safe, fork-safe, a context manager; opens itself at its first use.

    ``open()`` makes a resource, ``close(resource)`` ends it, ``check(resource)`` raises or returns False when it is dead,
    ``reset(resource)`` makes it as new when it comes back. All run on threads of the pool, ``workers`` at a time.

    ``min_size`` resources are kept open, at most ``max_size``; above the minimum ``growth`` are opened at a time (0: as many
    as wait). Times are seconds. ``timeout`` is the default of :meth:`acquire`: one deadline over waiting, opening and
    checking. ``max_waiting`` bounds who may wait (0: no bound). A resource is replaced after ``max_lifetime`` (up to a tenth
    earlier), closed when unused for ``max_idle`` and above the minimum, checked before use when unused for
    ``check_after_idle``. A check, reset or close longer than ``check_timeout``, or an open longer than ``open_timeout``, has
    failed. ``order``: "lifo" hands out what was used last, "fifo" what was unused for longest. ``keep_idle=False`` pools
    nothing, and bounds only: what nobody waits for is closed. Failed opens are tried again after ``backoff``; when they
    failed for ``reconnect_timeout``, whoever waits is told. A lease that lasts longer than ``leak_after`` is reported, once,
    with who holds it and where, and again when it comes back (None: never; to remember who borrows costs each lease some
    microseconds). ``breaker`` hears what each open came to, in time or not; while it is open, opens are its probes, and
    whoever finds nothing free and would wait for one gets CircuitOpenError (None: they wait). ``on_event`` is called with
    each :class:`PoolEvent` on any thread, and must not block.

    Raises ConfigurationError for values that make no sense.
    """

    def __init__(
        self,
        open: Callable[[], T],
        close: Callable[[T], object] | None = None,
        check: Callable[[T], object] | None = None,
        reset: Callable[[T], object] | None = None,
        *,
        min_size: int = 0,
        max_size: int = 10,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 3600.0,
        max_idle: float = 600.0,
        check_after_idle: float = 30.0,
        check_timeout: float = 5.0,
        open_timeout: float = 30.0,
        order: Literal["lifo", "fifo"] = "lifo",
        growth: int = 1,
        keep_idle: bool = True,
        backoff: Backoff = Backoff(0.1, 10.0),  # noqa: B008 - frozen
        reconnect_timeout: float = 300.0,
        leak_after: float | None = None,
        workers: int = 3,
        breaker: Breaker | None = None,
        on_event: EventListener | None = None,
        name: str = "",
    ) -> None:
        self._closing = True  # until all is checked: there is nothing to clean up
        options = ResourceOptions(
            min_size=min_size, max_size=max_size, timeout=timeout, max_waiting=max_waiting, max_lifetime=max_lifetime,
            max_idle=max_idle, check_after_idle=check_after_idle, check_timeout=check_timeout, open_timeout=open_timeout,
            order=order, growth=growth, keep_idle=keep_idle, backoff=backoff, reconnect_timeout=reconnect_timeout,
            workers=workers, leak_after=leak_after, breaker=breaker, on_event=on_event, name=name,
        )  # fmt: skip
        super().__init__(options, open, close, check, reset)
        self._closing = False
        _POOLS.add(self)

    # Borrowers

    def acquire(self, timeout: float | None = None) -> T:
        """Borrow a resource within ``timeout`` seconds (default: the pool's), 0: what is free now; give it back with
        :meth:`release`.

        Callers are served first in, first out. Raises PoolTimeoutError with the numbers (the last error of ``open`` as its
        cause, if opening fails), TooManyWaitingError, PoolClosedError, CircuitOpenError while the breaker is open.
        """
        return self._lend(timeout).resource

    def lease(self, timeout: float | None = None) -> Lease[T]:
        """``with pool.lease(timeout) as resource``: borrow for a block. Errors as :meth:`acquire`, when the block begins."""
        return Lease(self, timeout)

    def release(self, resource: T, reusable: bool = True) -> None:
        """Give a resource back; with ``reusable`` False it is closed, and replaced when somebody needs it.

        Never blocks. Raises LeaseReleasedError when this pool has not lent it, or it was given back already.
        """
        slot = self._slots.get(id(resource))
        if slot is None:
            if id(resource) in self._inherited:
                return
            raise self._not_leased(resource)
        self._take_back(slot, slot.token, reusable, False)

    def _lend(self, timeout: float | None) -> Slot[T]:
        token = next(self._tokens)
        try:
            with self._lock:
                slot = self._ledger.take(token, _monotonic())
                if slot is not None:
                    slot.token = token
                    return slot
        except BaseException:  # KeyboardInterrupt, or what another signal handler raised
            self._interrupted(token, returned=False)
            raise
        return self._wait(self._check_timeout(timeout), token)

    def _take_back(self, slot: Slot[T], token: Any, reusable: bool, suspect: bool) -> None:
        """``token``: whose lease it is. ``suspect``: the resource has to be checked first."""
        try:
            with self._lock:
                if token is None or token is not slot.token:
                    if self._inherited.get(id(slot.resource)) is slot:
                        return
                    raise self._not_leased(slot.resource)
                slot.token = None
                now = _monotonic()
                following = None
                if reusable and not suspect and self._quick:
                    if self._ledger.give(token, now):
                        return
                    following = self._ledger.pass_on(token, now)
                if following is None:
                    suspect = suspect and self._check_one is not None
                    tend, decision = self._decide_return(
                        slot, token, reusable, suspect or self._reset_one is not None, now
                    )
            if following is not None:
                wake(following)
                return
            if tend:
                self._tend(slot, reset=self._reset_one is not None, check=suspect)
            self._act(decision)
            self._borrowing.tell_returned(self._tell_lease)
        except LeaseReleasedError:
            raise
        except BaseException:
            self._interrupted(token, returned=True)
            raise

    def _wait(self, timeout: float, asked: Any) -> Slot[T]:
        began = _monotonic()
        waiter: Waiter[T] = Waiter()
        try:
            with self._lock:
                decision = self._decide_to_wait(waiter, began)
                fill = self._begin()
                forgotten = self._ledger.opening > self._plan.running + decision.open
            self._act(decision)
            self._act_first(fill)
            if forgotten:  # the thread that should have begun these was interrupted in that moment; or they are delayed
                self._pump()
            in_time = waiter.decided.acquire(timeout=max(0.0, began + timeout - _monotonic()))
            with self._lock:
                now = _monotonic()
                self._queued += 1
                slot = self._ledger.held_by(waiter)
                if slot is not None:  # also one that was granted in the very last moment
                    self._waits.add(now - began)
                    slot.token, slot.asked = waiter, asked
                    return slot
                stats = self._stats(now)
                self._ledger.abandon(waiter, now)  # it waited, or was refused: nothing follows from that
                error = self._ledger.last_open_error
        except BaseException:  # KeyboardInterrupt: a grant of this moment goes to the next in line
            self._interrupted(waiter, returned=False)
            raise
        if in_time and waiter.refusal is not None:
            refused = self._refusal(waiter.refusal, stats)
            self._tell(PoolEventKind.ACQUIRE_REFUSED, str(refused), refused)
            raise refused from (error if waiter.refusal is Refusal.OPEN_FAILED else None)
        exhausted = self._exhausted(timeout, stats)
        self._tell(PoolEventKind.ACQUIRE_TIMED_OUT, str(exhausted), exhausted)
        raise exhausted from (error if stats.failures_in_a_row else None)

    # The owner

    def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Open the minimum; with ``wait`` until it is there, at most ``timeout`` seconds. Safe to call again.

        Raises PoolTimeoutError with the cause when it is not there in time, CircuitOpenError when the breaker opens
        before (the pool goes on trying), PoolClosedError.
        """
        with self._lock:
            if self._ledger.closed:
                raise PoolClosedError(f"pool {self.name!r} is closed: make a new one")
            fill = self._begin()
        self._act_first(fill)
        if wait:
            self.wait(timeout)

    def wait(self, timeout: float = 10.0) -> None:
        """Wait until ``min_size`` resources are open; errors as :meth:`open`."""
        self.open(wait=False)
        with self._lock:
            self._grown.wait_for(lambda: self._is_filled() or self._gave_up_filling(), timeout)
            stats, error = self._stats(_monotonic()), self._ledger.last_open_error
        if stats.closed:
            raise PoolClosedError(f"pool {self.name!r} is closed: make a new one")
        if stats.size < stats.min_size:
            raise self._not_filled(timeout, stats) from (error if stats.failures_in_a_row else None)

    def resize(self, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes while running; leased ones above ``max_size`` are closed as they come back.

        Raises ConfigurationError when they are out of range.
        """
        with self._lock:
            now_min, now_max = self._sizes
            sizes = (now_min if min_size is None else min_size, now_max if max_size is None else max_size)
            decision = self._ledger.resize(sizes[1], sizes[0])
            self._sizes = sizes
            self._grown.notify_all()  # who waits for a minimum that is smaller now has it
        self._tell(PoolEventKind.RESIZED, f"between {sizes[0]} and {sizes[1]} resources from now on")
        self._act(decision)

    def drain(self) -> None:
        """Replace every resource: idle ones now, leased ones when they come back."""
        with self._lock:
            decision = self._ledger.drain()
        self._tell(PoolEventKind.DRAINED, "every resource is replaced")
        self._act(decision)

    def check(self, timeout: float = 30.0) -> int:
        """Check every idle resource now, one after the other, within ``timeout`` seconds; bad ones are replaced.

        Returns how many were bad. Raises ConfigurationError when the pool has no ``check``.
        """
        if self._check_one is None:
            raise ConfigurationError(f"pool {self.name!r} has no check: give check= when making it")
        deadline, bad = _monotonic() + timeout, 0
        with self._lock:
            slots = list(self._slots.values())
        for slot in slots:
            with self._lock:
                mine = self._ledger.tend_idle(slot)
            if mine:
                verdicts: queue.SimpleQueue[bool] = queue.SimpleQueue()
                self._tend(slot, reset=False, check=True, then=verdicts.put)
                with contextlib.suppress(queue.Empty):
                    bad += not verdicts.get(timeout=max(0.0, deadline - _monotonic()))
            if _monotonic() >= deadline:
                break
        return bad

    def close(self, timeout: float = 5.0) -> bool:
        """Refuse whoever waits, close every idle resource, end the threads, within ``timeout`` seconds. Idempotent.

        What is leased is closed when it comes back: nobody waits for that. True if all else has ended in time.
        """
        deadline = _monotonic() + timeout
        with self._lock:
            first, self._closing = not self._closing, True
            decision = self._ledger.close()
            self._grown.notify_all()
        self._act(decision)
        self._pump()
        _POOLS.discard(self)
        self._workers.stop()
        ended = self._workers.join(deadline)
        if first:
            self._tell(PoolEventKind.POOL_CLOSED, "closed")
        return ended

    def stats(self) -> ResourceStats:
        """The figures of this moment, and the counts since the pool was made."""
        with self._lock:
            return self._stats(_monotonic())

    def pop_stats(self) -> ResourceStats:
        """As :meth:`stats`, with counts and times since the last call of this; :meth:`stats` goes on counting."""
        with self._lock:
            return self._pop_stats(_monotonic())

    def __enter__(self) -> ResourcePool[T]:
        try:
            self.open(wait=True)
        except BaseException:
            self.close(timeout=1.0)  # no __exit__ follows
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_closing", True) or not self._workers.has_threads:
            return
        # Whichever thread collects the garbage may hold any lock: nothing is waited for here.
        self._closing = True
        self._workers.stop(self._closing_tasks())
        warnings.warn(
            f"pool {self.name!r} was dropped without close(); use it as a context manager",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )


_POOLS: weakref.WeakSet[ResourcePool[Any]] = weakref.WeakSet()


def _forget_the_parents() -> None:
    for pool in list(_POOLS):
        pool._after_fork()


def _close_all() -> None:
    deadline = _monotonic() + _AT_EXIT
    pools = list(_POOLS)
    for pool in pools:
        pool.close(0.0)  # all at once, so that one that hangs takes no time from the others
    for pool in pools:
        pool._workers.join(deadline)


os.register_at_fork(after_in_child=_forget_the_parents)
atexit.register(_close_all)
