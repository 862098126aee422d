"""What travels: a message ready to be sent, its outcome, and a message received. Values only; no I/O, no pika."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rmqpool.errors import PublishError

__all__ = ["Confirmation", "Delivery", "Message", "Outcome", "PublishReport", "Settler"]


class Outcome(enum.StrEnum):
    """The five ways in which a publish ends."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    NACKED = "nacked"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(slots=True, eq=False)
class Message:
    """A message ready for the wire: the body is bytes, every property has been checked.

    Properties are those of AMQP 0-9-1 (basic class): ``delivery_mode`` 2 is persistent, ``expiration`` is text in
    milliseconds, ``timestamp`` seconds since the epoch. ``mandatory`` asks the broker to return what no queue takes.
    """

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    mandatory: bool = True
    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, Any] | None = None
    delivery_mode: int = 2
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None

    def __repr__(self) -> str:
        where = f"{self.exchange or '(default)'} → {self.routing_key}"
        return f"<Message {self.message_id} {where}, {len(self.body)} bytes, {self.content_type or 'no content type'}>"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The broker took responsibility for the message (basic.ack on a confirm channel).

    ``attempts`` is how often it was written; more than 1 means that the broker may hold it twice, both with the same
    ``message_id``.
    """

    message_id: str
    exchange: str
    routing_key: str
    attempts: int = 1

    @property
    def outcome(self) -> Outcome:
        return Outcome.CONFIRMED


@dataclass(frozen=True, slots=True)
class PublishReport(Sequence["Confirmation | PublishError"]):
    """One outcome for each message of a ``publish_many``, in the order given."""

    outcomes: tuple[Confirmation | PublishError, ...]

    def __len__(self) -> int:
        return len(self.outcomes)

    def __getitem__(self, index: Any) -> Any:
        return self.outcomes[index]

    def __iter__(self) -> Iterator[Confirmation | PublishError]:
        return iter(self.outcomes)

    @property
    def confirmed(self) -> int:
        """How many were confirmed."""
        return sum(1 for outcome in self.outcomes if isinstance(outcome, Confirmation))

    @property
    def failures(self) -> list[PublishError]:
        """The errors of those that were not confirmed, in order."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, PublishError)]

    def counts(self) -> dict[Outcome, int]:
        """How many messages had each outcome; all five are named."""
        counts = dict.fromkeys(Outcome, 0)
        for outcome in self.outcomes:
            counts[Outcome(outcome.outcome)] += 1
        return counts

    def raise_for_failures(self) -> None:
        """Raise the only failure, or an ExceptionGroup of all failures; return None if all were confirmed."""
        failures = self.failures
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(self.outcomes)} messages were not confirmed", failures)

    def __repr__(self) -> str:
        told = ", ".join(f"{count} {outcome}" for outcome, count in self.counts().items() if count)
        return f"<PublishReport {told or 'empty'}>"


class Settler(Protocol):
    """What a delivery needs of its channel: thread-safe, and deaf to stale or doubled settlements (it counts them)."""

    def settle(self, delivery: Delivery, verdict: str, *, requeue: bool = False) -> bool:
        """``verdict`` is ``ack``, ``nack`` or ``reject``. True if it was handed to the broker, False if it was stale."""
        ...


@dataclass(slots=True, eq=False)
class Delivery:
    """A message received. Its key is (connection epoch, channel serial, delivery tag): a tag alone means nothing after a
    reconnect (AMQP 0-9-1, 1.8.3.13: tags are channel-scoped).

    ``headers`` is never None. ``delivery_count`` is the broker's own ``x-delivery-count`` (quorum queues), 0 if absent.
    ``tries``: how often this process has handled it before. ``received_at``: when it arrived here (``time.monotonic``),
    0 if nobody noted it. ``begun``: a worker has begun to handle it.
    """

    body: bytes
    exchange: str
    routing_key: str
    delivery_tag: int
    redelivered: bool
    queue: str = ""
    consumer_tag: str = ""
    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    epoch: int = 0
    channel_serial: int = 0
    settler: Settler | None = None
    on_settled: Callable[[Delivery, str], None] | None = None
    settled: str = ""
    tries: int = 0
    received_at: float = 0.0
    begun: bool = False

    @property
    def delivery_count(self) -> int:
        """How often the broker says that it delivered this message before (quorum queues only)."""
        count = self.headers.get("x-delivery-count", 0)
        return int(count) if isinstance(count, int) else 0

    @property
    def attempt(self) -> int:
        """1 for the first attempt. Our own header counts copies, the broker its deliveries, ``tries`` what was here."""
        attempt = self.headers.get("x-rmqpool-attempt")
        if isinstance(attempt, int) and attempt > 0:
            return int(attempt) + self.delivery_count + self.tries
        return max(self.delivery_count + 1, 2 if self.redelivered else 1) + self.tries

    @property
    def original_exchange(self) -> str:
        """The exchange that it was first published to, also after it came back from a retry queue."""
        return self._original("x-rmqpool-original-exchange", self.exchange)

    @property
    def original_routing_key(self) -> str:
        """The routing key that it was first published with, also after it came back from a retry queue."""
        return self._original("x-rmqpool-original-routing-key", self.routing_key)

    def _original(self, header: str, otherwise: str) -> str:
        told = self.headers.get(header)
        return told if isinstance(told, str) else otherwise

    def ack(self) -> bool:
        """Acknowledge. False, and nothing happens, if it was settled before or its channel is gone."""
        return self.settler is not None and self.settler.settle(self, "ack")

    def nack(self, *, requeue: bool = True) -> bool:
        """Refuse; back into the queue, or to the dead-letter exchange. The return value is as for :meth:`ack`."""
        return self.settler is not None and self.settler.settle(self, "nack", requeue=requeue)

    def reject(self, *, requeue: bool = False) -> bool:
        """Refuse this one (basic.reject): the form that every broker version counts towards the delivery limit."""
        return self.settler is not None and self.settler.settle(self, "reject", requeue=requeue)

    def __repr__(self) -> str:
        state = self.settled or "unsettled"
        return (
            f"<Delivery {self.message_id or 'without id'} from {self.queue or self.routing_key}, tag {self.delivery_tag}, "
            f"attempt {self.attempt}, {len(self.body)} bytes, {state}>"
        )
