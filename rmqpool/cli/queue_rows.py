"""What is known of a queue, and asking for it over AMQP: a passive declare changes nothing and needs no plugin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rmqpool.errors import ChannelClosedError, NotFoundError

if TYPE_CHECKING:
    from rmqpool.pool import ConnectionPool
    from rmqpool.settings import ConnectionSettings

__all__ = ["QueueRow", "look_at", "missing_row", "with_vhost"]

_TIMEOUT = 10.0  # seconds


@dataclasses.dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue. None: not known (AMQP tells ready messages and consumers only). ``problem`` says why it is not well."""

    name: str
    ready: int | None = None
    consumers: int | None = None
    messages: int | None = None
    unacked: int | None = None
    type: str | None = None
    state: str = "there"
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines: unknown values are null."""
        return dataclasses.asdict(self)

    def cells(self) -> tuple[str, ...]:
        """For the table: unknown values are a dash."""
        numbers = (self.messages, self.ready, self.unacked, self.consumers)
        counts = tuple("-" if number is None else str(number) for number in numbers)
        return (self.name, self.type or "-", *counts, self.problem or self.state)


def missing_row(name: str) -> QueueRow:
    """A queue that is not there."""
    return QueueRow(name, state="missing", problem="does not exist")


def with_vhost(settings: ConnectionSettings, vhost: str | None) -> ConnectionSettings:
    """The settings for another virtual host; unchanged for None. Raises ConfigurationError."""
    return settings if vhost is None else dataclasses.replace(settings, vhost=vhost)


def look_at(settings: ConnectionSettings, names: Iterable[str], timeout: float | None) -> list[QueueRow]:
    """Ask the broker for each name once, in order. A missing queue is a row, not an error. Raises RmqpoolError."""
    from rmqpool.pool import ConnectionPool

    seconds = _TIMEOUT if timeout is None else timeout
    pool = ConnectionPool(settings, timeout=seconds, channels_per_connection=1)
    try:
        pool.open(timeout=seconds)
        return [_look(pool, name) for name in dict.fromkeys(names)]
    finally:
        pool.close(timeout=2.0)


def _look(pool: ConnectionPool, name: str) -> QueueRow:
    with pool.channel() as channel:
        try:
            answer = channel.queue_declare(name, passive=True)
        except NotFoundError:
            return missing_row(name)
        except ChannelClosedError as error:
            return QueueRow(name, state="refused", problem=f"{error.code} {error.text}")
    return QueueRow(name, ready=answer.message_count, consumers=answer.consumer_count)
