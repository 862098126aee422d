"""Send dead letters again: publish a copy, wait for its confirm, acknowledge. Whatever ends a run, nothing is lost.

A message is acknowledged after its copy was confirmed, and the next one is sent after the broker has read that: a run
that is killed leaves at most ``window`` messages both sent and still here. What fails and is parked again during the run
stands behind the queue's end of its beginning, and is not taken.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rmqpool.dlq.copies import replayed_message
from rmqpool.dlq.letter import DeadLetter
from rmqpool.dlq.reading import DeadLetterQueue, Pass
from rmqpool.dlq.selection import Selection
from rmqpool.errors import (
    AccessRefusedError,
    CallTimeoutError,
    ChannelClosedError,
    ConfigurationError,
    ConnectionLostError,
    DecodeError,
    MessageError,
    NotFoundError,
    NotSentError,
    RmqpoolError,
    UnknownOutcomeError,
)
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation
from rmqpool.publisher import Publisher

__all__ = ["Left", "Replay", "ReplayReport"]

WINDOW_MAX = 1000
_KEPT = 1000  # failures that are told one by one
_REMEMBERED = 10_000  # keys, so that what comes again after a lost connection is not sent again
_ACKS = 50  # are written at once
_PASSES = 3  # in a row that end early and bring nothing
_GRACE = 5.0  # seconds for what is on its way when the run is to stop
_SLICE = 0.2  # seconds between two looks at whether it is to stop


@dataclass(frozen=True, slots=True)
class Left:
    """A message that was meant and stays, and why."""

    message_id: str
    queue: str
    error: str


@dataclass(slots=True)
class ReplayReport:
    """``ready`` messages when it began; ``replayed``: confirmed in their queue and acknowledged here.

    ``failed`` stay, the first 1,000 of them in ``left``; ``in_hand`` had no confirm when the run ended: they stay too, and
    may have arrived. ``stopped`` says why the run ended early, if it did.
    """

    ready: int = 0
    seen: int = 0
    replayed: int = 0
    failed: int = 0
    in_hand: int = 0
    stopped: str = ""
    left: list[Left] = field(default_factory=list)


class Replay:
    """One run. ``to`` instead of each message's own queue; ``window`` messages on their way at once, 1 to 1,000.

    ``pause`` is called before each message is sent (to pace), ``stop`` says whether to end, between two messages;
    ``on_progress`` gets the report after each message. One thread. Raises ConfigurationError.
    """

    def __init__(
        self,
        queue: DeadLetterQueue,
        selection: Selection,
        *,
        to: str | None = None,
        window: int = 1,
        pause: Callable[[], None] = lambda: None,
        stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[ReplayReport], None] = lambda report: None,
    ) -> None:
        if not 1 <= window <= WINDOW_MAX:
            raise ConfigurationError(f"window is {window}; give 1 to {WINDOW_MAX} messages")
        if to == queue.name:
            raise ConfigurationError(
                f"a replay from {queue.name!r} into itself would change nothing: name another queue"
            )
        self._queue = queue
        self._selection = selection
        self._to = to
        self._window = window
        self._pause = pause
        self._stop = stop
        self._on_progress = on_progress
        self._publisher = Publisher(queue.pool, timeout=queue.timeout)
        self._flying: deque[tuple[DeadLetter, PublishFuture]] = deque()
        self._confirmed: dict[tuple[str, str], None] = {}
        self._failed: set[tuple[str, str]] = set()
        self._taken = 0  # of the selection's limit
        self._unacked: list[DeadLetter] = []  # confirmed, and to be acknowledged
        self._done = 0  # confirmed, or known to be
        self._certain = 0  # and the broker has read the acknowledgement
        self._broker_away = ""
        self._restarted = False
        self.report = ReplayReport()

    def run(self) -> ReplayReport:
        """Replay all that are meant. A lost connection is survived: what was held has come back, and is taken again.

        Raises NotFoundError, AccessRefusedError, PoolTimeoutError, or what ended three attempts in a row that brought
        nothing, if nothing was replayed yet; otherwise the report says why it stopped.
        """
        bound: int | None = None
        fruitless = 0
        while True:
            before = self._done
            try:
                with self._queue.opened(bound) as reading:
                    if not self._restarted:
                        self.report.ready = reading.bound
                    self._replay(reading)
                    self._synchronise(reading)
                break
            except RmqpoolError as error:
                fruitless = 0 if self._done > before else fruitless + 1
                if not _comes_back(error) or fruitless >= _PASSES:
                    if not self.report.replayed:
                        raise
                    self._broker_away = self._broker_away or str(error)
                if self._stop() or self._broker_away:
                    break
                self._unacked.clear()  # they come again, and are known
                self._restarted = True
                self._done = self._certain
                bound = self.report.ready - self._certain
        if self._broker_away:
            self.report.stopped = self._broker_away
        elif self._stop():
            self.report.stopped = "interrupted"
        return self.report

    def _replay(self, reading: Pass) -> None:
        try:
            while not self._ends():
                while self._flying and (len(self._flying) >= self._window or self._flying[0][1].done()):
                    self._settle_oldest(reading)
                letter = None if self._ends() else reading.next()
                if letter is None:
                    break
                self.report.seen = max(self.report.seen, letter.position)
                if self._selection.matches(letter, datetime.now(UTC)):
                    self._take(letter, reading)
                self._on_progress(self.report)
        finally:
            while self._flying:
                with contextlib.suppress(RmqpoolError):  # the channel is gone: each outcome counts nevertheless
                    self._settle_oldest(reading)
            self._acknowledge(reading)
            self._on_progress(self.report)

    def _ends(self) -> bool:
        enough = self._selection.limit is not None and self._taken >= self._selection.limit
        return enough or bool(self._broker_away) or self._stop()

    def _synchronise(self, reading: Pass) -> None:
        self._acknowledge(reading)
        reading.synchronise()
        self._certain = self._done

    def _acknowledge(self, reading: Pass) -> None:
        if self._unacked:
            reading.ack(self._unacked)
            self._unacked.clear()

    def _take(self, letter: DeadLetter, reading: Pass) -> None:
        if self._restarted and letter.key is not None:
            if letter.key in self._failed:
                return
            if letter.key in self._confirmed:  # its acknowledgement was lost with the connection
                del self._confirmed[letter.key]
                self._done += 1
                self._unacked.append(letter)
                return
        self._pause()
        if self._stop():
            return
        if len(self._flying) + self._done - self._certain >= self._window:
            self._synchronise(reading)
        self._taken += 1
        try:
            self._flying.append((letter, self._submit(letter)))
        except (MessageError, DecodeError) as error:
            self._leave(letter, error)
        except NotSentError as error:
            self._leave(letter, error)
            self._broker_away = str(error)

    def _submit(self, letter: DeadLetter) -> PublishFuture:
        target = self._to or letter.queue
        if not target:
            raise MessageError("nothing in it tells which queue it came from: say where to, with --to", field="queue")
        if target == self._queue.name:
            raise MessageError(f"it came from {target!r} itself: say where to, with --to", field="queue")
        return self._publisher.submit_message(replayed_message(letter, target, self._queue.pool.settings.user))

    def _settle_oldest(self, reading: Pass) -> None:
        letter, future = self._flying[0]
        outcome = self._outcome(future)
        self._flying.popleft()
        if outcome is None:
            self.report.in_hand += 1
        elif isinstance(outcome, Confirmation):
            self._remember(letter)
            self.report.replayed += 1
            self._done += 1
            self._unacked.append(letter)
            if not self._flying or len(self._unacked) >= _ACKS:
                self._acknowledge(reading)
        else:
            if isinstance(outcome, NotSentError | UnknownOutcomeError):
                self._broker_away = str(outcome)
                self.report.in_hand += isinstance(outcome, UnknownOutcomeError)
            self._leave(letter, outcome)
        self._on_progress(self.report)

    def _outcome(self, future: PublishFuture) -> Confirmation | RmqpoolError | None:
        """The outcome; None if the run is to stop and there was none within the grace."""
        give_up: float | None = None
        while True:
            try:
                return future.outcome(_SLICE)
            except CallTimeoutError:
                if give_up is None and self._stop():
                    give_up = time.monotonic() + _GRACE
                if give_up is not None and time.monotonic() >= give_up:
                    return None

    def _remember(self, letter: DeadLetter) -> None:
        if letter.key is not None:
            self._confirmed[letter.key] = None
            if len(self._confirmed) > _REMEMBERED:
                del self._confirmed[next(iter(self._confirmed))]

    def _leave(self, letter: DeadLetter, error: RmqpoolError) -> None:
        self.report.failed += 1
        if letter.key is not None and len(self._failed) < _REMEMBERED:
            self._failed.add(letter.key)
        if len(self.report.left) < _KEPT:
            self.report.left.append(Left(letter.message_id, _queue_of(letter), str(error)))


def _queue_of(letter: DeadLetter) -> str:
    try:
        return letter.queue
    except DecodeError:
        return ""


def _comes_back(error: RmqpoolError) -> bool:
    """Whether another pass may get further."""
    if isinstance(error, NotFoundError | AccessRefusedError):
        return False
    return isinstance(error, ConnectionLostError | ChannelClosedError | CallTimeoutError)
