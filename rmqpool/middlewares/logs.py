"""One structured log record for each message that was handled or published."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any

from rmqpool.errors import ConfigurationError, DecodeError, PublishError
from rmqpool.message import Confirmation, Delivery, Message
from rmqpool.middleware import Middleware
from rmqpool.middlewares.ends import HANDLED, class_of, end_of, outcome_of

__all__ = ["LOGGER", "Logging"]

LOGGER = "rmqpool.messages"
_UNHAPPY = frozenset({"failed", "rejected", "undecodable", "returned", "nacked", "not_sent", "unknown"})


class Logging(Middleware):
    """Logs each message at ``level``, and what failed at ``failure_level`` (None: as all others), to logger ``logger``.

    The record has fields of its own (``rmqpool worker --log-format json`` writes them): ``event``, ``outcome``,
    ``queue`` or ``exchange``, ``routing_key``, ``message_id``, ``attempt``, ``seconds``, ``bytes``; ``error`` is the class
    of an exception, without its text. Bodies are left out, and headers too: ``body`` is how many bytes of the body to
    log, ``headers`` the names of headers that hold no secret. Costs nothing while the logger does not want the level.

    Raises ConfigurationError. Thread-safe.
    """

    def __init__(
        self,
        level: int | str = logging.INFO,
        *,
        failure_level: int | str | None = None,
        logger: str = LOGGER,
        body: int = 0,
        headers: Collection[str] = (),
    ) -> None:
        self._level = _level(level)
        self._failure_level = self._level if failure_level is None else _level(failure_level)
        self._lowest = min(self._level, self._failure_level)
        self._logger = logging.getLogger(logger)
        if isinstance(body, bool) or not isinstance(body, int) or body < 0:
            raise ConfigurationError(f"Logging: body is {body!r}; give how many bytes of it to log, 0 for none")
        if isinstance(headers, str):
            raise ConfigurationError(f"Logging: headers is {headers!r}; give a list of names")
        self._body = body
        self._headers = tuple(headers)

    def before_handle(self, delivery: Delivery) -> float:
        return self._now()

    def after_handle(self, delivery: Delivery, state: float, result: Any) -> None:
        if state:
            self._handled(delivery, state, HANDLED, None)

    def on_handle_error(self, delivery: Delivery, state: float, error: BaseException) -> None:
        if state:
            self._handled(delivery, state, end_of(error), error)

    def before_publish(self, message: Message) -> float:
        return self._now()

    def after_publish(self, message: Message, state: float, confirmation: Confirmation) -> None:
        if state:
            self._published(message, state, confirmation)

    def on_publish_error(self, message: Message, state: float, error: PublishError) -> None:
        if state:
            self._published(message, state, error)

    def _now(self) -> float:
        """0 if nobody wants to know."""
        return time.monotonic() if self._logger.isEnabledFor(self._lowest) else 0.0

    def _handled(self, delivery: Delivery, since: float, end: str, error: BaseException | None) -> None:
        try:
            fields = {"message_id": delivery.message_id, "attempt": delivery.attempt}
            shown = self._shown(delivery.headers)
        except DecodeError:  # its properties cannot be read
            fields, shown = {"message_id": None, "attempt": 1}, {}
        self._log(
            "%s message %s of queue %s in %.3f s",
            (end, fields["message_id"] or "without id", delivery.queue),
            {"event": "handled", "queue": delivery.queue, "routing_key": delivery.routing_key, **fields, **shown},
            (since, end, error, delivery.body),
        )

    def _published(self, message: Message, since: float, outcome: Confirmation | PublishError) -> None:
        end = outcome_of(outcome)
        where = {"exchange": message.exchange, "routing_key": message.routing_key, "message_id": message.message_id}
        self._log(
            "%s message %s to %s in %.3f s",
            (end, message.message_id, message.exchange or message.routing_key),
            {"event": "published", **where, **self._shown(message.headers or {})},
            (since, end, outcome if isinstance(outcome, PublishError) else None, message.body),
        )

    def _log(
        self,
        sentence: str,
        arguments: tuple[object, ...],
        fields: dict[str, Any],
        ended: tuple[float, str, BaseException | None, bytes],
    ) -> None:
        since, end, error, body = ended
        level = self._failure_level if end in _UNHAPPY else self._level
        if not self._logger.isEnabledFor(level):
            return
        seconds = round(time.monotonic() - since, 6)
        fields.update(outcome=end, seconds=seconds, bytes=len(body))
        if error is not None:
            fields["error"] = class_of(error)
        if self._body:
            fields["body"] = body[: self._body].decode("utf-8", "backslashreplace")
        self._logger.log(level, sentence, *arguments, seconds, extra=fields)

    def _shown(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        return {"headers": {name: headers[name] for name in self._headers if name in headers}} if self._headers else {}


def _level(level: int | str) -> int:
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if isinstance(number, bool) or not isinstance(number, int):
        raise ConfigurationError(f"Logging: level is {level!r}; give one of logging's, such as logging.INFO or 'info'")
    return number
