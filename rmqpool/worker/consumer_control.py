"""What middleware may do to the consumer that it stands around: pause it, let single messages through, resume it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from rmqpool.consumer import BatchConsumer, ConsumerEvent
from rmqpool.middleware import Middleware
from rmqpool.worker.later import Later
from rmqpool.worker.registration import ConsumerDefinition

__all__ = ["ConsumerControl"]

_LOGGER = logging.getLogger("rmqpool")


class ConsumerControl:
    """Of one consumer of a run. Thread-safe.

    Each middleware has a hold of its own: the consumer resumes when none of them pauses it. One of a queue with a single
    active consumer stays subscribed: another worker would begin with the next messages while this one keeps those in hand.
    """

    def __init__(
        self, definition: ConsumerDefinition, later: Later, on_event: Callable[[ConsumerEvent, str], None]
    ) -> None:
        self.definition = definition
        self.later = later
        self._prefetch = definition.messages_ahead
        self._on_event = on_event
        self._consumer: BatchConsumer | None = None
        self._holds: list[tuple[Middleware, _Hold]] = []
        self._lock = threading.Lock()

    @property
    def paused(self) -> str:
        """Why it is paused; empty if it is not."""
        return "; ".join(hold.reason for _, hold in list(self._holds) if hold.reason)

    def begin(self) -> None:
        """Tell the middleware that the consumer begins. Raises what one of them raises."""
        for one in self.definition.middleware:
            hold = _Hold(self)
            self._holds.append((one, hold))
            one.consumer_started(hold)

    def take(self, consumer: BatchConsumer) -> None:
        """This is the consumer."""
        with self._lock:
            self._consumer = consumer
            if any(hold.reason for _, hold in self._holds):
                self._pace()

    def end(self) -> None:
        """Tell the middleware that the consumer has ended."""
        with self._lock:
            self._consumer = None
        for one, hold in reversed(self._holds):
            try:
                one.consumer_stopped(hold)
            except Exception:
                _LOGGER.exception("%s failed while it was told that a consumer has ended", type(one).__name__)

    def change(self, hold: _Hold, reason: str, allowed: int, told: str) -> None:
        """A hold has another reason (empty: none any more), and allows so many messages."""
        with self._lock:
            was_paused = bool(self.paused)
            hold.reason, hold.allowed = reason, allowed
            is_paused = bool(self.paused)
            if is_paused and not was_paused and self._consumer is not None:
                self._prefetch = self._consumer.prefetch or self._prefetch  # it may have been adapted
            if was_paused or is_paused:
                self._pace()
        if is_paused != was_paused:
            self._on_event(ConsumerEvent.PAUSED if is_paused else ConsumerEvent.RESUMED, told)

    def _pace(self) -> None:
        if self._consumer is not None and not self.definition.queue.single_active_consumer:
            allowed = [hold.allowed for _, hold in self._holds if hold.reason]
            self._consumer.pace(min([self._prefetch, *allowed]))


class _Hold:
    """What one middleware holds of the consumer: a :class:`rmqpool.core.ports.ConsumerPort`."""

    __slots__ = ("_control", "allowed", "reason")

    def __init__(self, control: ConsumerControl) -> None:
        self._control = control
        self.reason = ""
        self.allowed = 0

    @property
    def queue(self) -> str:
        return self._control.definition.queue.name

    @property
    def settles_by_hand(self) -> bool:
        return self._control.definition.ack == "manual"

    @property
    def takes_batches(self) -> bool:
        return self._control.definition.batch is not None

    def pause(self, reason: str) -> None:
        self._control.change(self, reason or "paused", 0, f"queue {self.queue!r} is paused: {reason}")

    def allow(self, messages: int) -> None:
        if self.reason:
            self._control.change(self, self.reason, messages, "")

    def resume(self, reason: str) -> None:
        self._control.change(self, "", 0, f"queue {self.queue!r} is consumed again: {reason}")

    def call_later(self, function: Callable[[], None], seconds: float) -> None:
        due = time.monotonic() + seconds
        self._control.later.call(lambda: function() if time.monotonic() >= due else None, seconds)  # else: hurried
