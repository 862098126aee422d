"""How much may be on its way at once: a bound in messages and bytes. Thread-safe; every wait has a deadline.

Whoever finds no room waits in one line, threads and event loops alike. Who leaves lets the first ones in that fit: a
place is handed over, not announced, so none is lost when the one who was called is not there any more.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

__all__ = ["Place", "Window"]

_LOOK_PAST = 100  # places too large for the room there is, before those behind them are not asked either
_MOST_PASSED = 1000  # messages that may pass one that is too large for the room there is; then all wait for it


class Place:
    """One place in the line: ``size`` bytes, and how to call who waits. The window's own; give it back to the window."""

    __slots__ = ("let_in", "passed", "since", "size", "wake")

    def __init__(self, size: int, wake: Callable[[], bool]) -> None:
        self.size = size
        self.wake = wake
        self.let_in = False
        self.passed = 0  # by how many that came later
        self.since = time.monotonic()


class Window:
    """Counts what was taken in and has no outcome yet. A message larger than the byte bound is let in alone."""

    def __init__(self, messages: int, size: int) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._max_messages = messages
        self._max_bytes = size
        self._messages = 0
        self._bytes = 0
        self._waiting_for_end = 0
        self._line: OrderedDict[Place, None] = OrderedDict()
        self.closed = False  # True: nothing more is let in; only :meth:`close` and its kin change it

    @property
    def bounds(self) -> tuple[int, int]:
        """The most messages, and the most bytes."""
        return self._max_messages, self._max_bytes

    @property
    def messages(self) -> int:
        """Messages without an outcome."""
        return self._messages

    @property
    def waiting(self) -> int:
        """Messages that wait for room."""
        return len(self._line)

    @property
    def fullness(self) -> float:
        """The share of its bounds that is taken, by messages or by bytes, whichever is more; above 1 for one large message."""
        return max(self._messages / self._max_messages, self._bytes / self._max_bytes)

    def oldest_wait(self, now: float) -> float:
        """Seconds until ``now`` (monotonic) that the first in the line has waited; 0 if nobody waits."""
        with self._lock:
            return max(0.0, now - next(iter(self._line)).since) if self._line else 0.0

    def try_enter(self, size: int) -> bool:
        """Take ``size`` bytes in if there is room now."""
        entered = False
        try:
            with self._lock:
                entered = self._enter_past_the_line(size)
        except BaseException:  # KeyboardInterrupt: nobody will say that they leave
            if entered:
                self.leave(1, size)
            raise
        return entered

    def enter(self, size: int, deadline: float) -> bool:
        """Take ``size`` bytes in, waiting for room until ``deadline`` (monotonic); False if there was none by then."""
        if self.try_enter(size):
            return True
        remaining = deadline - time.monotonic()
        if remaining <= 0 or self.closed:
            return False
        called = threading.Lock()  # held until the call; lighter than an Event
        called.acquire()

        def wake() -> bool:
            called.release()
            return True

        place = self.line_up(size, wake)
        try:
            called.acquire(timeout=remaining)
        except BaseException:  # KeyboardInterrupt
            self.give_up(place)
            raise
        return self.claim(place)

    def line_up(self, size: int, wake: Callable[[], bool]) -> Place:
        """Wait for room for ``size`` bytes; each place must end in :meth:`claim` or :meth:`give_up`.

        ``wake`` is called once, on any thread, when the place was let in or the window closed: at once if that is so
        already. It must not block or raise; it returns False if nobody is there any longer, and the next one is let in.
        """
        place = Place(size, wake)
        with self._lock:
            place.let_in = self._enter_past_the_line(size)
            if not place.let_in and not self.closed:
                self._line[place] = None
                return place
        if not wake():
            self.give_up(place)
        return place

    def claim(self, place: Place) -> bool:
        """End the wait: True if the place was let in (it counts from now on as entered), else it leaves the line."""
        with self._lock:
            self._line.pop(place, None)
            let_in, place.let_in = place.let_in, False
            called = [] if let_in or place.passed < _MOST_PASSED else self._let_in()
        self._call(called)  # those who waited for the one that gives up
        return let_in

    def give_up(self, place: Place) -> None:
        """End the wait of one who does not want to enter any more; the next one has the room."""
        if self.claim(place):
            self.leave(1, place.size)

    def leave(self, messages: int, size: int) -> None:
        """``messages`` with ``size`` bytes together have their outcome."""
        while messages:
            with self._lock:
                self._messages -= messages
                self._bytes -= size
                called = self._let_in() if self._line else []
                if self._waiting_for_end and not self._messages:
                    self._changed.notify_all()
            messages, size = self._gone_of(called)

    def _call(self, called: list[Place]) -> None:
        messages, size = self._gone_of(called)
        if messages:
            self.leave(messages, size)

    def _gone_of(self, called: list[Place]) -> tuple[int, int]:
        """Wake those who were let in; how many of them, and bytes, are not there any longer."""
        gone = [place for place in called if not place.wake() and self.claim(place)]
        return len(gone), sum(place.size for place in gone)

    def _let_in(self) -> list[Place]:
        """Those who fit into the room there is, longest waiting first."""
        let_in = list(self._fitting())
        for place in let_in:
            del self._line[place]
            place.let_in = True
        return let_in

    def _fitting(self) -> Iterator[Place]:
        too_large = 0
        for place in self._line:
            if self._enter_if_fits(place.size):
                yield place
            elif self._messages >= self._max_messages or too_large == _LOOK_PAST or place.passed >= _MOST_PASSED:
                return
            else:
                place.passed += 1
                too_large += 1

    def wait_empty(self, deadline: float) -> bool:
        """Wait until nothing is on its way; False if something still is at ``deadline`` (monotonic)."""
        with self._lock:
            return self._wait_empty(deadline)

    def close_when_empty(self, deadline: float) -> bool:
        """Wait as :meth:`wait_empty` does, then close in the same step: nothing slips in between."""
        with self._lock:
            empty = self._wait_empty(deadline)
            self.closed = True
        self.close()
        return empty

    def close_if_empty(self) -> bool:
        """Close if nothing is on its way at this moment; False, and nothing changes, if something is."""
        with self._lock:
            if self._messages:
                return False
            self.closed = True
        self.close()
        return True

    def close(self) -> None:
        """Nobody waits any longer, and nothing more is let in."""
        with self._lock:
            self.closed = True
            self._changed.notify_all()
            line = list(self._line)
            self._line.clear()
        for place in line:
            place.wake()

    def _wait_empty(self, deadline: float) -> bool:
        while self._messages:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._waiting_for_end += 1
            try:
                self._changed.wait(remaining)
            finally:
                self._waiting_for_end -= 1
        return True

    def _enter_past_the_line(self, size: int) -> bool:
        """A newcomer takes room that nobody in the line can use, unless somebody there was passed too often."""
        first = next(iter(self._line)) if self._line else None
        if (first is not None and first.passed >= _MOST_PASSED) or not self._enter_if_fits(size):
            return False
        if first is not None:
            first.passed += 1
        return True

    def _enter_if_fits(self, size: int) -> bool:
        if self.closed or (
            self._messages and (self._messages >= self._max_messages or self._bytes + size > self._max_bytes)
        ):
            return False
        self._messages += 1
        self._bytes += size
        return True
