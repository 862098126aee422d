"""The future of one publish: a slotted object that allocates a lock only if somebody really waits."""

from __future__ import annotations

import enum
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from typing import Protocol, TypedDict

from rmqpool.errors import CallTimeoutError, ConfigurationError, NotSentError, PublishError, UnknownOutcomeError
from rmqpool.message import Confirmation, Message
from rmqpool.wakeups import Sleeper, pass_on, wake
from rmqpool.write_lease import Lease

__all__ = ["PublishFuture", "break_leases", "finish_all"]

_LOGGER = logging.getLogger("rmqpool")
GRACE = 2.0  # seconds after the deadline in which the I/O thread must have spoken

QUEUED, WRITTEN, DONE = 0, 1, 2


class _Confirmed(enum.Enum):
    """Says that a message was confirmed, until somebody wants to see the Confirmation: most are never looked at."""

    YES = enum.auto()


class MessageNames(TypedDict):
    """What names a message in every PublishError."""

    message_id: str
    exchange: str
    routing_key: str
    attempts: int


class Canceller(Protocol):
    """Whoever owns the message until it is written, and can take it back."""

    def withdraw(self, future: PublishFuture) -> bool: ...
    def wake(self) -> None: ...

    @property
    def on_io_thread(self) -> bool: ...
    @property
    def is_inherited(self) -> bool: ...
    def end_inherited(self, future: PublishFuture) -> None: ...


def break_leases(futures: Iterable[PublishFuture]) -> None:
    """The connection that these were to be written to, or were written to, is lost."""
    for future in futures:
        if future.lease is not None:
            future.lease.break_off()


class PublishFuture:
    """What ``Publisher.submit`` returns; it ends in a :class:`Confirmation` or one of the :class:`PublishError` classes.

    Thread-safe. ``deadline`` is monotonic, in seconds; at the latest then the I/O thread gives the outcome.
    """

    __slots__ = (
        "_callbacks",
        "_outcome",
        "_owner",
        "_waiters",
        "alone",
        "attempts",
        "cancelled_by_user",
        "deadline",
        "header",
        "lease",
        "maybe_stored",
        "message",
        "nacks",
        "patience",
        "retry",
        "size",
        "state",
    )

    def __init__(self, message: Message, header: bytes, deadline: float, retry: bool, owner: Canceller) -> None:
        self.message = message
        self.header = header
        self.size = len(message.body) + len(header)
        self.deadline = deadline
        self.lease: Lease | None = None
        self.patience = 0.0  # seconds for the confirm of a message with a lease, from its writing on
        self.retry = retry
        self.attempts = 0
        self.nacks = 0
        self.alone = False
        self.maybe_stored = False  # an earlier writing got no answer: the broker may have it
        self.state = QUEUED
        self.cancelled_by_user = False
        self._owner: Canceller | None = owner
        self._outcome: Confirmation | PublishError | _Confirmed | None = None
        self._waiters: list[Sleeper] | None = None
        self._callbacks: list[Callable[[PublishFuture], object]] | None = None

    @property
    def due(self) -> float:
        """When it ends if nothing happens to it (monotonic)."""
        if self.lease is not None and not self.attempts:
            return self.lease.end
        return self.deadline

    # What users call

    def done(self) -> bool:
        """True when the outcome is known, or the message was withdrawn."""
        return self._outcome is not None or self.cancelled_by_user

    def cancelled(self) -> bool:
        """True if :meth:`cancel` withdrew the message before anything of it was written."""
        return self.cancelled_by_user

    def cancel(self) -> bool:
        """Withdraw the message if nothing of it was ever written; False if it was, and then nothing changes."""
        self._end_if_inherited()
        owner = self._owner
        return self.cancelled_by_user or (owner is not None and not self.done() and owner.withdraw(self))

    def result(self, timeout: float | None = None) -> Confirmation:
        """Wait for the outcome: return the Confirmation or raise the PublishError.

        ``timeout`` in seconds only bounds this wait: it never cancels. Without it, the wait ends at the message's own
        deadline. Raises CallTimeoutError if the outcome is still open after ``timeout``, CancelledError if withdrawn.
        """
        outcome = self._await(timeout)
        if isinstance(outcome, Confirmation):
            return outcome
        try:
            raise outcome
        finally:
            del outcome  # no cycle through the traceback

    def result_of_now(self) -> Confirmation:
        """As :meth:`result`, for who submitted without waking the engine: it is woken as the last thing before the wait.

        Not on an I/O thread: the caller has made sure of that.
        The I/O thread then does not meet this one on its way to the wait, where it would hold the GIL.
        """
        owner = self._owner
        try:
            self._wait(None, wake_owner=True)
        except BaseException:
            if owner is not None:
                owner.wake()
            raise
        return self.result()

    def exception(self, timeout: float | None = None) -> PublishError | None:
        """Wait as :meth:`result` does; return the error, or None if the message was confirmed."""
        outcome = self._await(timeout)
        return None if isinstance(outcome, Confirmation) else outcome

    def outcome(self, timeout: float | None = None) -> Confirmation | PublishError:
        """Wait as :meth:`result` does; return the outcome, whichever it is."""
        return self._await(timeout)

    def add_done_callback(self, callback: Callable[[PublishFuture], object]) -> None:
        """Call ``callback(self)`` once when done: at once if it is done, otherwise on the connection's I/O thread, or on
        the thread that cancels it.

        It must not block there; what it raises is logged and goes no further.
        """
        with _WAITERS:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)
        if self.done():
            self._run_callbacks()

    # What the engine calls

    def resolve(self, outcome: Confirmation | PublishError) -> None:
        """Give the outcome, once; later calls change nothing."""
        if self._outcome is not None or self.cancelled_by_user:
            return
        self.set_outcome(outcome)
        self.finish()

    def set_outcome(self, outcome: Confirmation | PublishError) -> None:
        """The outcome is known from here on; :meth:`finish` follows."""
        self._outcome = outcome
        self.state = DONE

    def confirm(self) -> bool:
        """The broker took responsibility; :meth:`finish` follows. False, and nothing changes, if it was done before."""
        if self._outcome is not None or self.cancelled_by_user:
            return False
        self._outcome = _Confirmed.YES
        self.state = DONE
        self._owner = None
        return True

    @property
    def is_awaited(self) -> bool:
        """Somebody waits, or wants to be called: :meth:`finish` has something to do."""
        return self._waiters is not None or self._callbacks is not None

    def drop_callbacks(self) -> None:
        """In a forked child: they are the parent's, and run there."""
        self._callbacks = None

    def claim_withdrawn(self) -> None:
        """The owner takes the message back, under its lock; :meth:`finish` follows outside of it."""
        self.cancelled_by_user = True
        self.state = DONE

    def finish(self) -> None:
        """Wake whoever waits and run the callbacks; under no lock of ours, because they are users' code."""
        finish_all((self,))

    def take_sleepers(self) -> list[Sleeper]:
        """Those who wait for the outcome, to be woken now."""
        self.state = DONE
        self._owner = None
        # The outcome is visible before the list is read, and waiters re-read it after they entered the list: with
        # CPython's memory model one of both always sees the other, so nobody is left waiting.
        if self._waiters is None:
            return []
        with _WAITERS:
            waiters, self._waiters = self._waiters, None
        return waiters or []

    def run_callbacks(self) -> None:
        """Call each callback that was not called yet, once."""
        if self._callbacks:
            self._run_callbacks()

    def _run_callbacks(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)  # whoever pops it calls it: exactly once
            except IndexError:
                return
            try:
                callback(self)
            except BaseException:  # SystemExit too: it must not end the I/O thread
                _LOGGER.exception("a done callback of %r failed", self)

    def _end_if_inherited(self) -> None:
        """In a forked child nobody works on it: it ends here, wherever the parent's I/O thread had it in hand."""
        owner = self._owner
        if owner is not None and owner.is_inherited:
            owner.end_inherited(self)

    def _await(self, timeout: float | None) -> Confirmation | PublishError:
        self._end_if_inherited()
        if not self.done():
            self._wait(timeout)
        if self.cancelled_by_user:
            raise CancelledError(f"message {self.message.message_id} was withdrawn before it was written")
        outcome = self._known()
        if outcome is not None:
            return outcome
        if timeout is None or time.monotonic() > self.deadline + GRACE:
            return self._overdue()
        raise CallTimeoutError(
            f"message {self.message.message_id} had no outcome yet after {timeout:g} s; it goes on until its own "
            f"deadline: ask again with result()"
        )

    def _known(self) -> Confirmation | PublishError | None:
        outcome = self._outcome
        if outcome is _Confirmed.YES:
            message = self.message
            outcome = Confirmation(message.message_id, message.exchange, message.routing_key, self.attempts)
            self._outcome = outcome
        return outcome

    def _overdue(self) -> Confirmation | PublishError:
        """The I/O thread itself is stuck (something holds the GIL, or stopped it): say what is known without it."""
        what = f"message {self.message.message_id}: its deadline passed and the connection's I/O thread did not answer"
        if self.cancel():
            return NotSentError(f"{what}; nothing was written, so publishing it again is safe", **self.names())
        if (outcome := self._known()) is not None:  # it spoke in this moment
            return outcome
        return UnknownOutcomeError(f"{what}; publish it again only with the same message_id", **self.names())

    def names(self) -> MessageNames:
        """The arguments that every PublishError takes to name its message."""
        message = self.message
        return {
            "message_id": message.message_id,
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "attempts": self.attempts,
        }

    def name_in_return(self) -> tuple[str, str, str]:
        """What a basic.return tells of the message: its id, exchange and routing key. It has no delivery tag."""
        message = self.message
        return message.message_id, message.exchange, message.routing_key

    def _wait(self, timeout: float | None, wake_owner: bool = False) -> None:
        owner = self._owner
        if owner is not None and not wake_owner and owner.on_io_thread:
            raise ConfigurationError(
                f"waiting for message {self.message.message_id} inside a callback would wait for the thread that runs the "
                "callback: use submit() and another callback there, or hand over to a thread of your own"
            )
        own_deadline = max(0.0, self.deadline + GRACE - time.monotonic())  # counted once, however often one waits
        seconds = own_deadline if timeout is None else max(0.0, timeout)
        sleeper = Sleeper()
        woken = True
        try:
            with _WAITERS:
                if self._waiters is None:
                    self._waiters = []
                self._waiters.append(sleeper)
            if wake_owner and owner is not None:
                owner.wake()
            if not self.done():
                woken = sleeper.sleep(min(seconds, threading.TIMEOUT_MAX))
        finally:  # also after a KeyboardInterrupt, wherever it came
            sleeper.gone = True
            pass_on()  # it may have been the one that is woken: then the others wait for it
        if not woken:
            self._forget(sleeper)

    def _forget(self, sleeper: Sleeper) -> None:
        with _WAITERS:
            if self._waiters and sleeper in self._waiters:
                self._waiters.remove(sleeper)

    def __repr__(self) -> str:
        if self.cancelled_by_user:
            state = "withdrawn"
        elif (outcome := self._known()) is not None:
            state = str(outcome.outcome)
        else:
            state = "written" if self.state == WRITTEN else "queued"
        return f"<PublishFuture {state}: {self.message!r}>"


def finish_all(futures: Sequence[PublishFuture]) -> None:
    """The outcomes of these are set: wake whoever waits for any of them, then run the callbacks."""
    sleepers: list[Sleeper] = []
    for future in futures:
        sleepers += future.take_sleepers()
    if sleepers:
        wake(sleepers)
    for future in futures:
        future.run_callbacks()


_WAITERS = threading.Lock()  # held for a few instructions, and only by threads that are about to wait
os.register_at_fork(after_in_child=lambda: _WAITERS._at_fork_reinit())  # type: ignore[attr-defined]


class _Nobody:
    """Owns the place-holder."""

    on_io_thread = False
    is_inherited = False

    def end_inherited(self, future: PublishFuture) -> None:
        """It is nobody's."""

    def wake(self) -> None:
        """There is nobody to wake."""

    def withdraw(self, future: PublishFuture) -> bool:
        """There is nothing to withdraw."""
        del future
        return False


ENDED = PublishFuture(Message("", "", b"", ""), b"", 0.0, False, _Nobody())
"""Stands in the confirm window for a message whose deadline passed: its delivery tag still counts, its body is not kept."""
ENDED.set_outcome(NotSentError("a place-holder"))
