"""A handler of batches behind an inbox: one transaction marks the messages of a batch, and the known ones are left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, cast

from rmqpool.core.ports import AsyncBatchInboxPort, BatchInboxPort
from rmqpool.errors import InboxUnavailableError
from rmqpool.message import Delivery
from rmqpool.worker.inbox_guard import InboxGuard

__all__ = ["BatchInboxGuard", "Turn"]


class Turn:
    """One transaction for the messages of ``bodies``, each of which has an id.

    ``new`` are for the handler. ``known`` were handled before, by a transaction that is committed. ``twins`` have the id of
    one that is new: what becomes of that one becomes of them.
    """

    def __init__(self, bodies: dict[Delivery, Any]) -> None:
        self.bodies = bodies
        self.new: dict[Delivery, Any] = {}
        self.known: dict[Delivery, Any] = {}
        self.twins: dict[Delivery, Any] = {}
        self.is_sorted = False

    @property
    def message_ids(self) -> list[str]:
        """The ids; one may stand there twice."""
        return [str(delivery.message_id) for delivery in self.bodies]

    def sort(self, fresh: Collection[str]) -> bool:
        """Sort by the ids that were not marked before; True if there is anything for the handler."""
        self.is_sorted = True
        unseen = set(fresh)
        for delivery, body in self.bodies.items():
            message_id = str(delivery.message_id)
            if message_id not in fresh:
                self.known[delivery] = body
            elif message_id in unseen:
                unseen.discard(message_id)
                self.new[delivery] = body
            else:
                self.twins[delivery] = body
        return bool(self.new)


class BatchInboxGuard(InboxGuard):
    """Of one consumer of batches. A batch whose transaction cannot be had is kept and collected again after a pause."""

    def transaction(self, turn: Turn) -> AbstractContextManager[tuple[Any, set[str]]]:
        """The transaction in which the messages of ``turn`` are marked, and which ids were not marked before."""
        return cast("BatchInboxPort", self._inbox).transaction_for_many(self._name, turn.message_ids)

    def transaction_async(self, turn: Turn) -> AbstractAsyncContextManager[tuple[Any, set[str]]]:
        """As :meth:`transaction`, for ``async with``."""
        return cast("AsyncBatchInboxPort", self._inbox).transaction_for_many(self._name, turn.message_ids)

    def with_transaction(self, transaction: Any, named: dict[str, Any]) -> dict[str, Any]:
        """The handler's arguments by name, with the transaction if it takes it."""
        return self._with(transaction, named)

    def postpone_many(self, deliveries: Sequence[Delivery], error: InboxUnavailableError) -> None:
        """Keep them unacknowledged, and hand them to the handlers again after a pause."""
        self._postpone(deliveries, error)

    def ended(self, known: Collection[Delivery]) -> None:
        """The inbox answered; acknowledge what it knows."""
        self._works_again()
        for delivery in known:
            self._count("duplicates")
            delivery.ack()
