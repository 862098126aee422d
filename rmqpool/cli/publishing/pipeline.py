"""From bodies to outcomes, pipelined: a bounded number of messages (and bytes) is on its way at any time.

Outcomes are taken in order. Reading stops when the broker gives no verdict (not sent, unknown): the rest of the file
would only wait for its deadlines. A verdict about one message (returned, nacked) does not stop the others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError
from rmqpool.cli.publishing.interrupt import Interrupt
from rmqpool.cli.publishing.pacing import Pacer
from rmqpool.cli.publishing.reading import Body
from rmqpool.cli.publishing.tally import Tally
from rmqpool.errors import CallTimeoutError, MessageError, NotSentError, RmqpoolError, UnknownOutcomeError
from rmqpool.future import PublishFuture

__all__ = ["Pipeline", "Submit"]

_MESSAGES = 2000
_BYTES = 32 * 1024 * 1024  # below the publisher's own window: handing over never waits for long
_AFTER_INTERRUPT = 5.0  # seconds for outcomes of what was written when Ctrl-C came

Submit = Callable[[Body], PublishFuture]


class Pipeline:
    """One run. ``submit`` hands a message to the publisher; ``on_progress`` gets the tally and the bytes read so far."""

    def __init__(
        self,
        submit: Submit,
        tally: Tally,
        interrupt: Interrupt,
        pacer: Pacer,
        on_progress: Callable[[Tally, int], None] = lambda tally, read: None,
    ) -> None:
        self._submit = submit
        self._tally = tally
        self._interrupt = interrupt
        self._pacer = pacer
        self._on_progress = on_progress
        self._flying: deque[tuple[Body, PublishFuture]] = deque()
        self._bytes = 0

    def run(self, bodies: Iterator[Body]) -> RmqpoolError | None:
        """Publish all bodies. Everything handed over has an entry in the tally afterwards, whatever happened.

        Returns the error that stopped it early (a wrong line, a message that cannot be sent). KeyboardInterrupt goes on
        to the caller, after at most 5 seconds of waiting for what is on its way.
        """
        stopped: RmqpoolError | None = None
        try:
            stopped = self._hand_over_all(bodies)
            while self._flying:
                self._settle_oldest()
        except KeyboardInterrupt:
            self._interrupt.forget()
            self._wind_up()
            raise
        return stopped

    def _hand_over_all(self, bodies: Iterator[Body]) -> RmqpoolError | None:
        try:
            while not self._tally.broker_is_away:
                with self._interrupt.allowed():
                    body = next(bodies, None)
                if body is None:
                    return None
                self._make_room(len(body.content))
                self._pause(self._pacer.delay(time.monotonic()))
                self._hand_over(body)
        except RmqpoolError as error:
            return error
        return None

    def _hand_over(self, body: Body) -> None:
        self._tally.last_line = body.line
        try:
            future = self._submit(body)
        except NotSentError as error:
            self._tally.add(body.line, error)
            return
        except MessageError as error:
            raise _cannot_be_sent(body, error) from None
        self._flying.append((body, future))
        self._bytes += len(body.content)

    def _make_room(self, size: int) -> None:
        while self._flying and self._flying[0][1].done():
            self._settle_oldest()
        while self._flying and (len(self._flying) >= _MESSAGES or self._bytes + size > _BYTES):
            self._settle_oldest()

    def _settle_oldest(self) -> None:
        body, future = self._flying[0]
        with self._interrupt.allowed():
            outcome = future.outcome()
        self._tally.add(body.line, outcome)
        self._landed()

    def _landed(self) -> None:
        body, _ = self._flying.popleft()
        self._bytes -= len(body.content)
        self._on_progress(self._tally, body.read)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with self._interrupt.allowed():
                time.sleep(seconds)

    def _wind_up(self) -> None:
        """After Ctrl-C: take back what was not written, and wait a little for the rest. A second Ctrl-C ends the wait."""
        deadline = time.monotonic() + _AFTER_INTERRUPT
        for _, future in self._flying:
            future.cancel()
        while self._flying:
            body, future = self._flying[0]
            try:
                with self._interrupt.allowed():
                    outcome: Any = future.outcome(max(0.0, deadline - time.monotonic()))
                self._tally.add(body.line, outcome)
            except CancelledError:
                self._tally.withdraw(body.line)
            except CallTimeoutError:
                self._tally.add(body.line, _open(future))
            except KeyboardInterrupt:
                self._interrupt.forget()
                deadline = time.monotonic()
                continue
            self._landed()


def _cannot_be_sent(body: Body, error: MessageError) -> ReportedError:
    if body.alone:
        return ReportedError(
            f"the body cannot be sent: {error}; nothing was published",
            kind="InputError",
            exit_code=ExitCode.INPUT,
            facts={"field": error.field},
        )
    return ReportedError(
        f"line {body.line} cannot be sent: {error}; nothing from this line on was published",
        kind="InputError",
        exit_code=ExitCode.INPUT,
        facts={"line": body.line, "field": error.field},
    )


def _open(future: PublishFuture) -> UnknownOutcomeError:
    sentence = f"message {future.message.message_id} was written, and interrupted before its outcome was known"
    return UnknownOutcomeError(sentence, **future.names())
