"""A message that was handled already is acknowledged without calling the handler again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final

from rmqpool.core.backoff import Backoff
from rmqpool.core.ports import ConsumerPort
from rmqpool.errors import ConfigurationError
from rmqpool.message import Delivery
from rmqpool.middleware import Middleware
from rmqpool.middlewares.ends import id_of
from rmqpool.middlewares.idempotency_store import IdempotencyStore, InMemoryIdempotencyStore, Known
from rmqpool.middlewares.waiting_room import WaitingRoom
from rmqpool.worker.verdicts import Postpone, Skip

__all__ = ["Idempotency"]

_LOGGER = logging.getLogger("rmqpool")
_PAUSES: Final = Backoff(0.05, 2.0)


class Idempotency(Middleware):
    """Skips what ``store`` knows as handled (default: :class:`InMemoryIdempotencyStore`). Put it last in the list.

    ``key`` tells what makes two messages the same (default: their ``message_id``); None handles a message as it is. Keys
    of different queues are different. A message is marked once its handler has returned (or raised Skip), before it is
    acknowledged; a handling that failed marks nothing. While another handler has the same key, a message waits,
    unacknowledged, for up to ``wait`` seconds, and then goes back to its queue.

    What no store of this kind can promise: between the handler's effect and the mark the process may die, and the message
    is handled again. A store in memory forgets with its process, and knows nothing of other processes. Where the effect is
    in Postgres, :class:`rmqpool.outbox.Inbox` commits both at once: use that instead.

    Raises ConfigurationError. Thread-safe.
    """

    def __init__(
        self,
        store: IdempotencyStore | None = None,
        *,
        key: Callable[[Delivery], str | None] = id_of,
        wait: float = 60.0,
    ) -> None:
        self.store: IdempotencyStore = InMemoryIdempotencyStore() if store is None else store
        if not isinstance(self.store, IdempotencyStore):
            raise ConfigurationError(f"Idempotency: {store!r} is no store: it needs begin, finish and forget")
        for name in ("begin", "finish", "forget"):
            if iscoroutinefunction(getattr(self.store, name)):
                raise ConfigurationError(
                    f"Idempotency: {name} of {store!r} is async def, and must answer at once: make it def"
                )
        if not callable(key) or iscoroutinefunction(key):
            raise ConfigurationError(f"Idempotency: key is {key!r}; give a plain function of the delivery")
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
            raise ConfigurationError(f"Idempotency: wait is {wait!r}; give seconds, 0 or more")
        self._key = key
        self._wait = wait
        self._waiting: WaitingRoom[_Waiting] = WaitingRoom(_Waiting)
        self._warned: set[str] = set()

    def consumer_started(self, consumer: ConsumerPort) -> None:
        if consumer.settles_by_hand:
            raise ConfigurationError(
                f"Idempotency stands around the consumer of queue {consumer.queue!r}, which has ack='manual': nobody knows when "
                "such a message was handled, and it could be lost; leave one of them out"
            )

    def before_handle(self, delivery: Delivery) -> str | None:
        told = self._key(delivery)
        if not told:
            self._warn(delivery.queue)
            return None
        key = f"{delivery.queue}\x1f{told}"
        known = self.store.begin(key)
        if known is Known.RUNNING:
            raise self._later(delivery)
        self._waiting.leave(delivery)
        if known is Known.HANDLED:
            raise Skip("handled before")
        return key

    def after_handle(self, delivery: Delivery, state: str | None, result: Any) -> None:
        if state is not None:
            self.store.finish(state)

    def on_handle_error(self, delivery: Delivery, state: str | None, error: BaseException) -> None:
        if state is None:
            return
        if issubclass(type(error), Skip):
            self.store.finish(state)
        else:
            self.store.forget(state)

    def _later(self, delivery: Delivery) -> Postpone:
        waiting = self._waiting.entry(delivery)
        waiting.turns += 1
        if time.monotonic() - waiting.since >= self._wait:
            self._waiting.leave(delivery)
            return Postpone("another handler has had the same key for too long", keep=False)
        return Postpone("another handler has the same key", delay=_PAUSES.ceiling(min(waiting.turns, 16)))

    def _warn(self, queue: str) -> None:
        if queue not in self._warned:
            self._warned.add(queue)
            _LOGGER.warning(
                "a message of queue %r has no key to know it again by (its message_id, if nothing else was said): such "
                "messages are handled each time they come; further ones are not reported",
                queue,
            )


class _Waiting:
    """Since when a message waits, and how often it asked."""

    __slots__ = ("since", "turns")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.turns = 0
