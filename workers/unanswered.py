"""For workers that pass messages on or keep them: whoever asked for a reply gets it from somebody else."""

from __future__ import annotations

from typing import Any

from rmqpool import Delivery, Middleware, Reject

__all__ = ["Unanswered"]


class Unanswered(Middleware):
    """A handler's result answers a message that asks for a reply; with this it does not. ``on_reject``: a rejection neither.

    ``reply_to`` is taken off after the handler, and what it did in a database, is done; so a handler always sees it.
    """

    def __init__(self, *, on_reject: bool = False) -> None:
        self._on_reject = on_reject

    def after_handle(self, delivery: Delivery, state: Any, result: Any) -> None:
        delivery.reply_to = None

    def on_handle_error(self, delivery: Delivery, state: Any, error: BaseException) -> None:
        if self._on_reject and isinstance(error, Reject):
            delivery.reply_to = None
