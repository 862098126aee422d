"""The program of a child process: load the handler, then one job after the other until the pipe ends."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import socket
import sys
from typing import Any

from rmqpool.codecs import encode_body
from rmqpool.core.disposition import Ended
from rmqpool.errors import ConfigurationError, DecodeError, TimeLimitExceededError
from rmqpool.message import Delivery
from rmqpool.worker.children.guards import Alarm, MemoryCap, die_with, memory_in_use, obey_only_the_parent
from rmqpool.worker.children.locating import find
from rmqpool.worker.children.logs import forward
from rmqpool.worker.children.pipe import Pipe
from rmqpool.worker.children.protocol import Begun, Broken, Job, Outcome, Ready, Setup
from rmqpool.worker.failure import describe, reason_of, unanswerable
from rmqpool.worker.handlers import inspect_handler
from rmqpool.worker.limits import with_time_limit
from rmqpool.worker.never_run import finished
from rmqpool.worker.verdicts import Postpone, Reject, Retry, Skip

__all__ = ["main"]


def main(number: int) -> None:
    """Run on the socket with that file descriptor, until the worker closes its end."""
    obey_only_the_parent()
    with contextlib.suppress(Exception):  # a process without stderr
        faulthandler.enable()  # where a crash happened is told there
    end = socket.socket(fileno=number)
    end.set_inheritable(False)  # a program that a handler starts must not keep the pipe open
    pipe = Pipe(end)
    with contextlib.suppress(EOFError, OSError):  # the worker closed its end, or is gone
        _serve(pipe, pipe.receive())


def _serve(pipe: Pipe, setup: Setup) -> None:
    die_with(setup.parent)
    sys.path[:] = setup.path
    sys.argv[:] = setup.argv
    try:
        runner = _Runner(setup, pipe)
    except BaseException as error:  # noqa: BLE001 - the user's module may raise anything
        pipe.send(Broken(describe("import", error)))
        return
    pipe.send(Ready(memory_in_use()))
    while True:
        job = pipe.receive()
        pipe.send(Begun())
        outcome = runner.run(job)
        del job  # while this process waits, nothing keeps the body in memory
        if os.getpid() != runner.process:
            os._exit(1)  # the handler forked, and this is the copy
        pipe.send(outcome)


class _Runner:
    """Runs jobs. Raises what importing the handler raises."""

    def __init__(self, setup: Setup, pipe: Pipe) -> None:
        self.process = os.getpid()
        alarm = Alarm(setup.time_limit)
        forward(pipe, setup.log_levels, alarm.postponed)
        handler = inspect_handler(find(setup.module, setup.qualname, setup.main), setup.accept)
        self._loop = asyncio.Runner() if handler.is_async else None
        self._handler = with_time_limit(handler, setup.time_limit) if self._loop is not None else handler
        # The loop's own timer ends a coroutine in good order: an alarm would hit the loop itself.
        self._alarm = Alarm(None) if self._loop is not None else alarm
        self._memory = MemoryCap(setup.memory_limit)
        self._settler = _TheWorkerSettles()

    def run(self, job: Job) -> Outcome:
        """Raises nothing, whatever the handler raises."""
        delivery = Delivery(**job.fields, settler=self._settler)
        try:
            with self._memory, self._alarm:
                return self._handle(delivery, job)
        except BaseException as error:  # noqa: BLE001 - as for every handler
            return _raised(error)

    def _handle(self, delivery: Delivery, job: Job) -> Outcome:
        try:
            positional, named = self._handler.arguments(delivery)
        except DecodeError as error:
            told = describe(f"decode:{error.reason}", error, with_traceback=False)
            return Outcome(Ended.UNDECODABLE, told, memory=memory_in_use())
        except (TimeLimitExceededError, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 - a body type's own validators run here
            return Outcome(Ended.UNDECODABLE, describe("decode:error", error), memory=memory_in_use())
        value = self._handler.function(*positional, **named)
        if self._loop is not None:
            value = self._loop.run(value)
        finished(value)
        return _replying(value) if job.wants_reply else Outcome(None, memory=memory_in_use())


def _replying(value: object) -> Outcome:
    """The reply is encoded here: classes of the user's need not travel, and the worker may not know them."""
    try:
        return Outcome(None, reply=encode_body(value), memory=memory_in_use())
    except (TimeLimitExceededError, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - the user's own values are encoded here
        return Outcome(None, unanswerable(error), memory=memory_in_use())


def _raised(error: BaseException) -> Outcome:
    kind = type(error)
    used = memory_in_use()
    if issubclass(kind, Retry):
        return Outcome(Ended.RETRY, reason=_text(error), delay=getattr(error, "delay", None), memory=used)
    if issubclass(kind, Reject):
        return Outcome(Ended.REJECTED, reason=_text(error), memory=used)
    if issubclass(kind, Skip):
        return Outcome(None, reason=_text(error), memory=used, skipped=True)
    if issubclass(kind, Postpone):
        delay, keep = getattr(error, "delay", None), bool(getattr(error, "keep", True))
        return Outcome(None, reason=_text(error), delay=delay, memory=used, kept=keep)
    kinds = tuple((base.__module__, base.__qualname__) for base in kind.__mro__)
    failure = describe(reason_of(error), error)
    return Outcome(Ended.FAILED, failure, kinds=kinds, memory=used, exhausted=issubclass(kind, MemoryError))


def _text(error: Any) -> str:
    try:
        return str(error.reason)
    except Exception:  # noqa: BLE001 - whatever a subclass made of it
        return ""


class _TheWorkerSettles:
    """The settler of a delivery in a child: the channel is elsewhere."""

    def settle(self, delivery: Delivery, verdict: str, *, requeue: bool = False) -> bool:
        """Raises ConfigurationError."""
        raise ConfigurationError(
            f"delivery.{verdict}() in a handler with executor='process': its connection is in the worker's process; "
            "return, or raise Retry or Reject"
        )
