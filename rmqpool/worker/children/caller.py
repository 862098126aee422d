"""Calls a handler in child processes: what a consumer has in its function's place. One child behind each calling thread.

It raises what the handler raised, as the handler itself would have: so everything that follows (parking, retries, counting)
is the same as for a function that runs here. A message that kills its child is tried again in a fresh one, until it has
killed as many as one message may; meanwhile the other threads and their children go on.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from rmqpool.core.disposition import Ended
from rmqpool.core.poison import AfterDeath, PoisonBook, after_death
from rmqpool.errors import ChildStartError, ConfigurationError, TimeLimitExceededError, WorkerError
from rmqpool.message import Delivery
from rmqpool.worker.children.locating import main_of, reference_of
from rmqpool.worker.children.logs import levels_here
from rmqpool.worker.children.process import ChildProcess, Death, spare_memory
from rmqpool.worker.children.protocol import Job, Outcome, Setup, job_of
from rmqpool.worker.children.starting import Starter, StoppingError
from rmqpool.worker.failure import ChildError, Failure
from rmqpool.worker.handlers import Handler
from rmqpool.worker.registration import ConsumerDefinition
from rmqpool.worker.stats import Counters
from rmqpool.worker.verdicts import Postpone, Reject, Retry, Skip

__all__ = ["ChildCaller"]

_LOGGER = logging.getLogger("rmqpool")
_IDLE_DEATHS = 3  # in a row: children that die before they begin with one message
_END_OF_THE_RUN = 600.0  # seconds; the worker stops within a second of a failure


class ChildCaller:
    """The children of one consumer. A service: started before the consumer, stopped after it; if no child can be started
    the worker stops, with :attr:`failure`.
    """

    def __init__(
        self, definition: ConsumerDefinition, counters: Counters, name: str, is_current: Callable[[Delivery], bool]
    ) -> None:
        self.name = f"the children of queue {definition.queue.name!r}"
        self.failure: BaseException | None = None
        self.handler: Handler = replace(
            definition.handler,
            function=self.call,
            is_async=False,
            arguments=lambda delivery: ((delivery, job_of(delivery, answers=definition.reply == "always")), {}),
        )
        self._definition = definition
        self._limits = definition.limits
        self._count = counters.add
        self._is_current = is_current
        self._starter = Starter(f"{name} {definition.queue.name} children", self._setup)
        self._seats = threading.local()
        self._lock = threading.Lock()
        self._first: ChildProcess | None = None
        self._book = PoisonBook()

    # A service

    def start(self) -> None:
        """Start the first child. Raises ConfigurationError if it cannot load the handler, ChildStartError."""
        try:
            self._first = self._starter.ready()
        except StoppingError:
            return

    def stop(self, timeout: float) -> bool:
        """End all children; True if none is left."""
        return self._starter.close(timeout)

    def begin_stop(self) -> None:
        """Start no more children: messages that wait for one go back."""
        self._starter.stop()

    def kill_busy(self) -> None:
        """Kill the children that are still at a message."""
        self._starter.kill_busy()

    # On the consumer's threads

    def call(self, delivery: Delivery, job: Job) -> Any:
        """What the handler returned as an EncodedBody, or the ChildError of what cannot be encoded; None if nobody waits
        for a reply. Raises what the handler raises: Retry, Reject, Skip, Postpone, or a ChildError that tells of it.
        """
        deaths = 0
        while True:
            result = self._run(job)
            if isinstance(result, Outcome):
                self._forget(delivery)
                return _conclude(result)
            deaths = self._died(delivery, result, deaths)

    def _run(self, job: Job) -> Outcome | Death:
        """By a child that was alive when it got the message. If one after the other is not, it is the message after all."""
        idle_deaths = 0
        while True:
            child = self._child()
            if self._limits.recycle_after is not None and child.handled + 1 >= self._limits.recycle_after:
                self._begin_the_next()  # it imports its modules while this one is at its last message
            result = child.run(job, self._limits.kills_after)
            if isinstance(result, Outcome):
                self._recycle_if_due(child, result)
                return result
            self._seats.child = None
            self._starter.bury(child)
            if result.stopped or self._starter.is_stopping:
                raise ChildError(Ended.CANCELLED, Failure("stopped"))
            self._count("children_died")
            idle_deaths += result.idle
            if not result.idle or idle_deaths == _IDLE_DEATHS:
                return result
            _LOGGER.warning(
                "child process %d of %s died while it was idle: %s", child.pid, self.name, _told(result.how)
            )

    def _child(self) -> ChildProcess:
        """This thread's child; a new one if it has none."""
        child: ChildProcess | None = getattr(self._seats, "child", None)
        if child is not None:
            return child
        with self._lock:
            child, self._first = self._first, None
        if child is None:
            begun: Future[ChildProcess] | None = getattr(self._seats, "next", None)
            self._seats.next = None
            try:
                child = self._starter.ready(begun)
            except StoppingError:
                raise ChildError(Ended.CANCELLED, Failure("stopped")) from None
            except (ConfigurationError, ChildStartError) as error:
                raise self._end_the_worker(error) from None
        self._seats.child = child
        return child

    def _begin_the_next(self) -> None:
        if getattr(self._seats, "next", None) is None:
            try:
                self._seats.next = self._starter.begin()
            except StoppingError:
                return

    def _recycle_if_due(self, child: ChildProcess, outcome: Outcome) -> None:
        limits = self._limits
        full = limits.memory_limit is not None and outcome.memory > spare_memory(limits.memory_limit)
        if full or outcome.exhausted or (limits.recycle_after is not None and child.handled >= limits.recycle_after):
            if full:
                _LOGGER.info(
                    "child process %d of %s is replaced: %d bytes in use", child.pid, self.name, outcome.memory
                )
            self._count("children_recycled")
            self._seats.child = None
            self._begin_the_next()
            child.retire()

    def _died(self, delivery: Delivery, death: Death, before: int) -> int:
        """How many children this message has killed, if it is to be tried again. Raises ChildError if not."""
        deaths = before + 1
        if delivery.message_id:
            with self._lock:
                deaths = max(deaths, self._book.add(delivery.message_id))
        then = after_death(deaths, self._limits.deaths, out_of_time=death.out_of_time)
        _LOGGER.error(
            "a child process died of %s while it handled message %s of queue %r (attempt %d): %s",
            _told(death.how),
            delivery.message_id or "without id",
            delivery.queue,
            delivery.attempt,
            {
                AfterDeath.AGAIN: f"it is tried again, having killed {deaths}",
                AfterDeath.FAILED: "it took too long",
                AfterDeath.POISONED: f"it has killed {deaths}, which is all that one message may",
            }[then],
        )
        reason = death.how if death.out_of_time else f"poison:{death.how}"
        if then is AfterDeath.POISONED:
            self._count("poisoned")
            if self._is_current(delivery):  # otherwise it comes again, and has not killed less
                self._forget(delivery)
            raise ChildError(Ended.POISONED, Failure(reason, message=self._why(death)), WorkerError)
        if then is AfterDeath.FAILED:
            raise ChildError(Ended.FAILED, Failure(reason, message=self._why(death)), TimeLimitExceededError)
        if not self._is_current(delivery):  # it comes again by itself
            raise ChildError(Ended.CANCELLED, Failure("stale"))
        return deaths

    def _why(self, death: Death) -> str:
        if death.out_of_time:
            return f"killed after {self._limits.kills_after:g} s"
        return f"the child process that handled it died of {_told(death.how)}"

    def _forget(self, delivery: Delivery) -> None:
        if len(self._book) and delivery.message_id:
            with self._lock:
                self._book.forget(delivery.message_id)

    def _end_the_worker(self, error: Exception) -> ChildError:
        """What to raise once the worker stops; it does so because of ``error``.

        Not before: the message would come round again and again, and each time counts.
        """
        self.failure = self.failure or error
        self._starter.wait_stopping(_END_OF_THE_RUN)
        return ChildError(Ended.CANCELLED, Failure("stopped"))

    def _setup(self) -> Setup:
        module, qualname = reference_of(self._definition.handler)
        return Setup(
            os.getpid(),
            tuple(sys.path),
            tuple(sys.argv),
            main_of(module),
            module,
            qualname,
            self._definition.accept,
            self._limits.time_limit,
            self._limits.memory_limit,
            levels_here(),
        )


def _conclude(outcome: Outcome) -> Any:
    if outcome.skipped:
        raise Skip(outcome.reason)
    if outcome.kept is not None:
        raise Postpone(outcome.reason, delay=1.0 if outcome.delay is None else outcome.delay, keep=outcome.kept)
    if outcome.ended is None:
        return ChildError(Ended.FAILED, outcome.failure) if outcome.failure.reason else outcome.reply
    if outcome.ended is Ended.RETRY:
        raise Retry(outcome.reason, delay=outcome.delay)
    if outcome.ended is Ended.REJECTED:
        raise Reject(outcome.reason)
    raise ChildError(outcome.ended, outcome.failure, _kind(outcome))


def _kind(outcome: Outcome) -> type[BaseException]:
    """The nearest class of the exception that is known here; nothing is imported for it."""
    for module, qualname in outcome.kinds:
        found: Any = sys.modules.get(module)
        for name in qualname.split("."):
            found = getattr(found, name, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return Exception


def _told(how: str) -> str:
    word, _, number = how.rpartition(" ")
    try:
        return f"{how} ({signal.Signals(int(number)).name})" if word == "signal" else how
    except ValueError:
        return how
