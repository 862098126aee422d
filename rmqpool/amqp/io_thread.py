"""One thread that runs an I/O loop. Others only post functions to it; whatever these raise is contained here.

An exception that escapes one of pika's own callbacks ends the loop: the thread reports it, makes a new loop, and goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from rmqpool.amqp.bell import Bell
from rmqpool.amqp.epoll_loop import EpollLoop, new_loop

__all__ = ["IOThread", "Timer"]

_LOGGER = logging.getLogger("rmqpool")
_CURRENT = threading.local()


class Timer:
    """A function to be called once on the I/O thread. Only that thread makes and cancels timers."""

    __slots__ = ("_due", "_function", "_handle", "_thread")

    def __init__(self, thread: IOThread, function: Callable[[], None]) -> None:
        self._thread = thread
        self._function = function
        self._handle: object | None = None
        self._due = 0.0

    def arm(self, delay: float) -> None:
        """Fire in ``delay`` seconds."""
        self._due = time.monotonic() + delay
        self.rearm()

    def rearm(self) -> None:
        """On a new loop, for the same moment as before."""
        self._handle = self._thread.loop.call_later(max(0.0, self._due - time.monotonic()), self._fire)
        self._thread.timers.add(self)

    def cancel(self) -> None:
        """Do not fire."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._thread.loop.remove_timeout(handle)
            self._thread.timers.discard(self)

    def _fire(self) -> None:
        self._handle = None
        self._thread.timers.discard(self)
        self._thread.run_contained(self._function)


class IOThread:
    """Owns a pika I/O loop and the thread that runs it. ``on_fault`` is told, on that thread, of every error contained."""

    def __init__(self, name: str, on_fault: Callable[[BaseException], None]) -> None:
        self.loop = new_loop()
        self.timers: set[Timer] = set()  # those that are armed; I/O thread only
        self._on_fault = on_fault
        self._turns = False  # the loop tells when a turn ends
        self._posted: deque[Callable[[], None]] = deque()
        self._bell = Bell(self._run_posted)
        self._last: list[Callable[[], None]] = []  # for the end of the turn; I/O thread only
        self._woken = False
        self._stopping = False
        self._ended = False  # nothing that is posted from here on is run by the thread
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def services(self) -> SelectorIOServicesAdapter:
        """pika's non-blocking I/O services (DNS, TCP, TLS) on this loop."""
        return SelectorIOServicesAdapter(self.loop)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def ended(self) -> bool:
        """Nothing that is posted from now on is run."""
        return self._ended

    @property
    def is_current(self) -> bool:
        """True on the I/O thread itself."""
        return threading.current_thread() is self._thread

    @staticmethod
    def is_any_current() -> bool:
        """True on any I/O thread: none of them may wait for another."""
        return getattr(_CURRENT, "is_io", False)

    def start(self) -> None:
        self._hang()
        try:
            self._thread.start()
        except BaseException:
            self._ended = True
            self._bell.take_down()
            self.loop.close()
            raise

    def post(self, function: Callable[[], None]) -> bool:
        """Run ``function`` on the I/O thread soon. Thread-safe; one wake-up while none is pending.

        False if the thread has ended (or stayed in the parent of a fork) and will not run it.
        """
        self._posted.append(function)
        if self._ended:
            return not self._take_back(function)
        if not self._woken:
            try:
                self._woken = True
                self._bell.ring()
            except BaseException:  # a KeyboardInterrupt just here would leave it asleep for ever
                self._woken = False
                raise
        return True

    def abandon_after_fork(self) -> None:
        """In a forked child the thread is not there: nothing that is posted will run."""
        self._ended = True

    def _take_back(self, function: Callable[[], None]) -> bool:
        try:
            self._posted.remove(function)
        except ValueError:
            return False  # the thread ran it while it ended
        return True

    def call_later(self, delay: float, function: Callable[[], None]) -> Timer:
        """Run ``function`` in ``delay`` seconds; I/O thread only. A loop that is replaced takes its timers along."""
        timer = Timer(self, function)
        timer.arm(delay)
        return timer

    def at_end_of_turn(self, function: Callable[[], None]) -> None:
        """Run ``function`` after everything else that this turn of the loop does; I/O thread only.

        For waking other threads: they do not meet this one while it still holds the GIL.
        """
        if self._turns:
            self._last.append(function)
        else:
            self.run_contained(function)

    def stop(self) -> None:
        """Let the thread end after what it is doing. Thread-safe; join() waits for it."""
        self.post(self._stop)

    def join(self, timeout: float) -> bool:
        """Wait until the thread has ended; False if it has not within ``timeout`` seconds."""
        if self.is_current or not self._thread.is_alive():
            return not self._thread.is_alive()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def run_contained(self, function: Callable[[], None]) -> None:
        """Call ``function``; what it raises is logged and reported, and goes no further."""
        try:
            function()
        except BaseException as error:
            _LOGGER.exception("an error inside the I/O thread %s was contained", self._thread.name)
            self._report(error)

    def _stop(self) -> None:
        self._stopping = True
        self.loop.stop()

    def _run(self) -> None:
        _CURRENT.is_io = True
        while not self._stopping:
            try:
                self.loop.start()
            except BaseException as error:
                _LOGGER.exception("pika's I/O loop of %s ended with an error; a new one takes over", self._thread.name)
                self._replace_loop()
                self._report(error)
        self._ended = True
        self._drain_at_end()
        self._bell.take_down()
        self.loop.close()

    def _hang(self) -> None:
        self._turns = isinstance(self.loop, EpollLoop)
        if isinstance(self.loop, EpollLoop):
            self.loop.before_sleep(self._end_turn)
        self._bell.hang(self.loop)

    def _replace_loop(self) -> None:
        broken, self.loop = self.loop, new_loop()
        try:
            broken.close()
        except Exception:
            _LOGGER.warning("pika's broken I/O loop could not be closed", exc_info=True)
        for timer in tuple(self.timers):
            timer.rearm()
        self._hang()

    def _report(self, error: BaseException) -> None:
        try:
            self._on_fault(error)
        except BaseException:
            _LOGGER.exception("the fault handler of %s failed", self._thread.name)

    def _end_turn(self) -> None:
        while self._last:
            last, self._last = self._last, []
            for function in last:
                self.run_contained(function)

    def _run_posted(self) -> None:
        self._woken = False
        for _ in range(len(self._posted)):
            self.run_contained(self._posted.popleft())
        if self._posted and not self._woken:
            self._woken = True
            self._bell.ring()

    def _drain_at_end(self) -> None:
        self._end_turn()
        while self._posted:
            self.run_contained(self._posted.popleft())
            self._end_turn()
