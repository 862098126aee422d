"""Stops consuming while a dependency fails, tries it with one message, and goes on when it works again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from rmqpool.callables import plain_function
from rmqpool.core.backoff import Backoff
from rmqpool.core.breaker import Breaker, BreakerPolicy, BreakerState, Pass, Refusal
from rmqpool.core.error_choice import ErrorChoice, chooses, error_choice
from rmqpool.core.ports import ConsumerPort
from rmqpool.core.retry import LONGEST_HELD
from rmqpool.errors import ConfigurationError
from rmqpool.message import Delivery
from rmqpool.middleware import Middleware
from rmqpool.middlewares.ends import class_of
from rmqpool.middlewares.waiting_room import WaitingRoom
from rmqpool.worker.failure import describe
from rmqpool.worker.verdicts import Postpone

__all__ = ["CircuitBreaker"]

_LOGGER = logging.getLogger("rmqpool")
_AGAIN: Final = Backoff(0.1, 1.0)  # seconds, for a message that failed while the breaker stays closed
_WHILE_PROBING: Final = 1.0  # seconds after which those that wait for a probe ask again
_BEHIND: Final = 0.2  # seconds by which a failed probe lets others try before it
_LONGEST_HOLD: Final = 86_400.0


class CircuitBreaker(Middleware):
    """Watches the dependency ``name``. ``on`` tells which exceptions of handlers say that it is down: classes, or a
    function of the exception. All other exceptions say nothing of it.

    A failure of the dependency is none of the message's: the worker keeps the message, unacknowledged, and handles it
    again. When too much fails (see :class:`BreakerPolicy`) the breaker opens: consuming is paused, and what was delivered
    is kept, too. After a pause one message is handled, the probe: consuming goes on if the dependency answers, and pauses
    for longer if not. A message that failed ``tries`` times (``policy.minimum``, if None) while the breaker stayed closed
    meets its own fate, as its consumer's options say: others were answered. With 1 a retry policy sees each failure
    until the breaker opens. What was kept for ``hold`` seconds goes back to its queue.

    While consuming is paused the worker is not ready. ``on_change`` hears of each change, with a sentence; it must return
    at once. One object may stand around several consumers that need the same dependency. Raises ConfigurationError.
    Thread-safe.
    """

    def __init__(
        self,
        name: str,
        *,
        on: ErrorChoice,
        policy: BreakerPolicy | None = None,
        hold: float = 600.0,
        tries: int | None = None,
        on_change: Callable[[BreakerState, str], None] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"CircuitBreaker: name is {name!r}; give the dependency's, as in 'bank'")
        if isinstance(hold, bool) or not isinstance(hold, int | float) or not 0 <= hold <= _LONGEST_HOLD:
            raise ConfigurationError(
                f"circuit breaker {name!r}: hold is {hold!r}; give seconds from 0 to {_LONGEST_HOLD:g}"
            )
        if tries is not None and (isinstance(tries, bool) or not isinstance(tries, int) or tries < 1):
            raise ConfigurationError(
                f"circuit breaker {name!r}: tries is {tries!r}; give a whole number, 1 or more, or None"
            )
        if on_change is not None:
            plain_function(f"circuit breaker {name!r}: on_change", on_change)
        self.name = name
        self._on = error_choice(f"circuit breaker {name!r}", on)
        self._hold = hold
        self._on_change = on_change
        self._breaker = Breaker(policy)
        self._tries = self._breaker.policy.minimum if tries is None else tries
        self._kept: WaitingRoom[_Kept] = WaitingRoom(_Kept)
        self._consumers: list[ConsumerPort] = []
        self._others = 0  # messages that were refused since it last opened: there is something to try
        self._reason = ""
        self._lock = threading.RLock()  # a consumer that is paused logs, and a log handler may do anything

    @property
    def state(self) -> BreakerState:
        """Closed (the dependency works), open, or half-open (one message tries it)."""
        return self._breaker.state

    @property
    def opened(self) -> int:
        """How often it has opened."""
        return self._breaker.opened

    @property
    def paused_seconds(self) -> float:
        """For how long it has been open or half-open, in all, in seconds."""
        with self._lock:
            return self._breaker.paused_seconds(time.monotonic())

    # Around consumers

    def consumer_started(self, consumer: ConsumerPort) -> None:
        with self._lock:
            self._consumers.append(consumer)
            if self._breaker.state is not BreakerState.CLOSED:
                self._pause(consumer)

    def consumer_stopped(self, consumer: ConsumerPort) -> None:
        with self._lock:
            if consumer in self._consumers:
                self._consumers.remove(consumer)

    # Around handlings

    def before_handle(self, delivery: Delivery) -> Pass:
        with self._lock:
            now = time.monotonic()
            before = self._breaker.state
            answer = self._breaker.ask(now)
            if isinstance(answer, Refusal):
                self._others += 1
                probing = self._breaker.state is BreakerState.HALF_OPEN
        if isinstance(answer, Refusal):
            wait = min(answer.wait, _WHILE_PROBING) if probing else answer.wait
            raise self._keep(delivery, now, wait)
        if answer.is_probe and before is BreakerState.OPEN:
            self._tell(BreakerState.HALF_OPEN, f"{self.name} is tried with one message")
        return answer

    def after_handle(self, delivery: Delivery, state: Pass, result: Any) -> None:
        self._kept.leave(delivery)
        with self._lock:
            before = self._breaker.state
            self._breaker.succeeded(state, time.monotonic())
            closed = before is not self._breaker.state
            if closed:
                self._reason = ""
                for consumer in self._consumers:
                    consumer.resume(f"{self.name} works again")
        if closed:
            self._tell(BreakerState.CLOSED, f"{self.name} works again")

    def on_handle_error(self, delivery: Delivery, state: Pass, error: BaseException) -> BaseException | None:
        if not self._is_its_failure(error):
            self._kept.leave(delivery)
            with self._lock:
                self._breaker.said_nothing(state, time.monotonic())
            return None
        with self._lock:
            now, period = time.monotonic(), self._breaker.period
            was_closed = self._breaker.state is BreakerState.CLOSED
            self._breaker.failed(state, now, random.random())
            is_closed = self._breaker.state is BreakerState.CLOSED
            opened = self._breaker.period != period
            if opened:
                self._open(now, error)
            wait, reason = self._breaker.wait(now), self._reason
        if opened and was_closed:
            told = describe("exception", error)
            _LOGGER.warning("circuit breaker %s opens:\n%s", self.name, told.traceback.rstrip() or told)
        if opened:
            self._tell(BreakerState.OPEN, reason)
        if not is_closed:
            return self._keep(delivery, now, wait + _BEHIND)
        kept = self._kept.entry(delivery)
        kept.failures += 1
        if kept.failures >= self._tries:
            return None  # its own fault: others are answered
        return Postpone(f"{self.name} failed", delay=_AGAIN.ceiling(kept.failures))

    def _keep(self, delivery: Delivery, now: float, wait: float) -> Postpone:
        if now - self._kept.entry(delivery).since >= self._hold:
            self._kept.leave(delivery)
            return Postpone(f"{self.name} is down for too long", keep=False)
        return Postpone(f"{self.name} is down", delay=min(wait, LONGEST_HELD))

    # Opening, under the lock

    def _open(self, now: float, error: BaseException) -> None:
        self._others = 0
        wait = self._breaker.wait(now)
        self._reason = f"{self.name} fails ({class_of(error)}); it is tried again in {wait:.3g} s"
        for consumer in self._consumers:
            self._pause(consumer)

    def _pause(self, consumer: ConsumerPort) -> None:
        consumer.pause(self._reason)
        period = self._breaker.period
        wait = self._breaker.wait(time.monotonic())
        consumer.call_later(lambda: self._look(consumer, period, tried=False), wait)

    def _look(self, consumer: ConsumerPort, period: int, *, tried: bool) -> None:
        """The pause is over: if nothing that was kept tries the dependency, have a message delivered that does."""
        with self._lock:
            if self._breaker.period != period or consumer not in self._consumers:
                return
            wait = self._breaker.wait(time.monotonic())
            if wait <= 0 and (tried or not self._others):
                consumer.allow(1)
            consumer.call_later(lambda: self._look(consumer, period, tried=wait <= 0), max(wait, _WHILE_PROBING))

    # Telling

    def _is_its_failure(self, error: BaseException) -> bool:
        try:
            return chooses(self._on, error)
        except Exception:
            _LOGGER.exception("circuit breaker %s: the function on=… failed; the exception says nothing", self.name)
            return False

    def _tell(self, state: BreakerState, sentence: str) -> None:
        _LOGGER.info("circuit breaker %s is %s: %s", self.name, state.replace("_", "-"), sentence)
        if self._on_change is not None:
            try:
                self._on_change(state, sentence)
            except Exception:
                _LOGGER.exception("circuit breaker %s: on_change failed", self.name)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state}, opened {self.opened} times>"


class _Kept:
    """Since when a message is kept, and how often it failed while the breaker stayed closed."""

    __slots__ = ("failures", "since")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.failures = 0
