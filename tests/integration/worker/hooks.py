"""Middleware that fails where a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rmqpool import Confirmation, Delivery, Message, Middleware


class Raising(Middleware):
    """Raises in one of its hooks."""

    def __init__(self, hook: str, error: Callable[[], BaseException]) -> None:
        self.hook, self.error = hook, error

    def before_handle(self, delivery: Delivery) -> None:
        self._raise("before_handle")

    def after_handle(self, delivery: Delivery, state: Any, result: Any) -> None:
        self._raise("after_handle")

    def on_handle_error(self, delivery: Delivery, state: Any, error: BaseException) -> None:
        self._raise("on_handle_error")

    def before_publish(self, message: Message) -> None:
        self._raise("before_publish")

    def after_publish(self, message: Message, state: Any, confirmation: Confirmation) -> None:
        self._raise("after_publish")

    def _raise(self, hook: str) -> None:
        if hook == self.hook:
            raise self.error()
