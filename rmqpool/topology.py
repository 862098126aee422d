"""Queues, exchanges and bindings are values: declaring the same value twice is declaring the same thing.

Arguments of a queue never change once it exists, so the defaults here are settled for good. ``Queue("orders")`` means
the same to a producer, to a worker and to the command line. docs/explanation/topology.md tells why they are so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from rmqpool.errors import ConfigurationError
from rmqpool.topology_checks import (
    EXCHANGE_FIELDS,
    QUEUE_FIELDS,
    check_arguments,
    check_exchange_type,
    check_name,
    check_queue,
    check_text,
    check_unstated,
    milliseconds,
)

__all__ = [
    "DEAD_DELIVERY_LIMIT",
    "DELIVERY_LIMIT",
    "Binding",
    "Exchange",
    "Queue",
    "QueueType",
    "Topology",
    "checked_topology",
    "dead_queue_name",
    "default_topology",
    "expand",
    "retry_queue",
    "retry_queue_name",
]

QueueType = Literal["quorum", "classic", "stream"]

DELIVERY_LIMIT = 100
"""Failed deliveries after which the broker itself dead-letters. A policy can lower it later; nothing can raise it."""

DEAD_DELIVERY_LIMIT = 1_000_000_000
"""As good as none. With nothing said RabbitMQ 4 drops what was looked at and put back 20 times."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue. Quorum, durable, with a delivery limit and a dead-letter queue ``<name>.dead`` unless told otherwise.

    ``delivery_limit`` (quorum only): None is DELIVERY_LIMIT. There is no -1: RabbitMQ 4 reads it as none, 3.10 as zero.
    ``dead_letter``: True is ``<name>.dead`` (streams never dead-letter), a text is another queue's name, None or False
    is no dead-lettering. ``dead_letter_exchange`` instead of it names an exchange of one's own ("" is the default one).
    ``dead_letter_strategy``: ``at-least-once`` by default on quorum queues, which needs ``overflow="reject-publish"``.
    ``message_ttl``, ``expires``, ``consumer_timeout`` are seconds (or timedelta); ``max_length`` messages,
    ``max_length_bytes`` bytes. ``arguments`` holds whatever else the broker takes. ``unstated`` names arguments that are
    left out of the declaration: for a queue that another client declared without them. ``passive``: the queue is
    somebody else's, whatever its arguments: it is only looked for (NotFoundError), and nothing is known of where it
    dead-letters to; ``consumer_timeout`` and ``single_active_consumer`` may say what it is. Raises ConfigurationError.
    """

    name: str
    type: QueueType = "quorum"
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    delivery_limit: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] | None = None
    message_ttl: float | timedelta | None = None
    expires: float | timedelta | None = None
    dead_letter: bool | str | None = True
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    dead_letter_strategy: Literal["at-most-once", "at-least-once"] | None = None
    single_active_consumer: bool = False
    max_priority: int | None = None
    consumer_timeout: float | timedelta | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    unstated: tuple[str, ...] = ()
    passive: bool = False

    def __post_init__(self) -> None:
        check_name("queue", self.name)
        check_queue(self)
        object.__setattr__(self, "unstated", check_unstated(f"queue {self.name!r}", self.unstated, QUEUE_FIELDS))
        object.__setattr__(self, "arguments", check_arguments(f"queue {self.name!r}", self.arguments, QUEUE_FIELDS))
        if self.dead_letter_queue == self.name:
            raise ConfigurationError(f"queue {self.name!r}: dead_letter names the queue itself; name another one")

    @property
    def dead_letter_queue(self) -> str | None:
        """The name of the queue that dead letters go to by the default exchange; None if there is no such queue."""
        if self.passive or self.dead_letter_exchange is not None or self.type == "stream" or not self.dead_letter:
            return None
        return dead_queue_name(self.name) if self.dead_letter is True else self.dead_letter

    def implied(self) -> tuple[Queue, ...]:
        """What must exist for this queue to keep its promise: its dead-letter queue."""
        name = self.dead_letter_queue
        if name is None:
            return ()
        return (Queue(name, delivery_limit=DEAD_DELIVERY_LIMIT, dead_letter=None),)

    def declare_arguments(self) -> dict[str, Any]:
        """The arguments of queue.declare (x-arguments), each one stated explicitly but those ``unstated``. A new dict.

        None for a ``passive`` one: the broker looks at none.
        """
        if self.passive:
            return {}
        arguments: dict[str, Any] = {"x-queue-type": self.type}
        if self.type == "quorum":
            arguments["x-delivery-limit"] = DELIVERY_LIMIT if self.delivery_limit is None else self.delivery_limit
        arguments.update(self._dead_letter_arguments())
        stated = {
            "x-max-length": self.max_length,
            "x-max-length-bytes": self.max_length_bytes,
            "x-overflow": self.overflow,
            "x-message-ttl": milliseconds(self.message_ttl),
            "x-expires": milliseconds(self.expires),
            "x-single-active-consumer": self.single_active_consumer or None,
            "x-max-priority": self.max_priority,
            "x-consumer-timeout": milliseconds(self.consumer_timeout),
        }
        arguments.update({name: value for name, value in stated.items() if value is not None})
        arguments.update(self.arguments)
        return {name: value for name, value in arguments.items() if name not in self.unstated}

    def _dead_letter_arguments(self) -> dict[str, Any]:
        queue = self.dead_letter_queue
        if queue is None and self.dead_letter_exchange is None:
            return {}
        arguments: dict[str, Any] = {"x-dead-letter-exchange": self.dead_letter_exchange or ""}
        if (key := self.dead_letter_routing_key if queue is None else queue) is not None:
            arguments["x-dead-letter-routing-key"] = key
        if self.type == "quorum":
            strategy = self.dead_letter_strategy or "at-least-once"
            arguments["x-dead-letter-strategy"] = strategy
            if strategy == "at-least-once" and self.overflow is None:
                arguments["x-overflow"] = "reject-publish"
        return arguments


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange. ``type``: direct, fanout, topic, headers, or a plugin's (``x-…``). Raises ConfigurationError."""

    name: str
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    alternate_exchange: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_name("exchange", self.name)
        owner = f"exchange {self.name!r}"
        check_exchange_type(owner, self.type)
        if self.alternate_exchange is not None:
            check_text(owner, "alternate_exchange", self.alternate_exchange, empty=False)
        object.__setattr__(self, "arguments", check_arguments(owner, self.arguments, EXCHANGE_FIELDS))

    def declare_arguments(self) -> dict[str, Any]:
        """The arguments of exchange.declare. A new dict at each call."""
        stated = {} if self.alternate_exchange is None else {"alternate-exchange": self.alternate_exchange}
        return {**stated, **self.arguments}


@dataclass(frozen=True, slots=True)
class Binding:
    """From the exchange ``source`` to the queue (or exchange) ``destination``. Raises ConfigurationError."""

    source: str
    destination: str
    routing_key: str = ""
    destination_type: Literal["queue", "exchange"] = "queue"
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        owner = f"binding from {self.source!r} to {self.destination!r}"
        check_text(owner, "source", self.source, empty=False)
        check_text(owner, "destination", self.destination, empty=False)
        check_text(owner, "routing_key", self.routing_key)
        if self.destination_type not in ("queue", "exchange"):
            raise ConfigurationError(f"{owner}: destination_type must be 'queue' or 'exchange'")
        object.__setattr__(self, "arguments", check_arguments(owner, self.arguments, {}))

    def declare_arguments(self) -> dict[str, Any]:
        """The arguments of queue.bind or exchange.bind. A new dict at each call."""
        return dict(self.arguments)


Topology: TypeAlias = Queue | Exchange | Binding


def dead_queue_name(queue: str) -> str:
    """Where the worker parks, and the broker dead-letters, what ``queue`` cannot handle: ``<queue>.dead``."""
    return f"{queue}.dead"


def retry_queue_name(queue: str, delay: int) -> str:
    """The queue in which messages wait ``delay`` seconds before they come back: ``<queue>.retry.<delay>s``."""
    return f"{queue}.retry.{delay}s"


def retry_queue(queue: str, delay: int) -> Queue:
    """A step of a retry ladder: nobody consumes it; what expires after ``delay`` seconds goes back to ``queue``.

    One queue for each delay, because a message expires only at the head of its queue. It refers to ``queue`` and is not
    referred to: adding, changing or dropping a ladder changes no argument of ``queue`` or its dead-letter queue.
    """
    return Queue(
        retry_queue_name(queue, delay),
        delivery_limit=DEAD_DELIVERY_LIMIT,
        message_ttl=delay,
        dead_letter_exchange="",
        dead_letter_routing_key=queue,
    )


def default_topology(queue: str) -> tuple[Topology, ...]:
    """What a worker of ``queue`` declares when told nothing else: the dead-letter queue first, then the queue."""
    return expand([Queue(queue)])


def checked_topology(declare: Iterable[Topology]) -> tuple[Topology, ...]:
    """What a ``declare=`` was given, looked at where it was written: on a connection nobody would hear of it in time.

    Raises ConfigurationError as :func:`expand` does, and for a single value.
    """
    if isinstance(declare, Queue | Exchange | Binding):
        raise ConfigurationError(f"declare takes a list: declare=[{type(declare).__name__}(…)]")
    values = tuple(declare)
    expand(values)
    return values


def expand(declared: Iterable[Topology]) -> tuple[Topology, ...]:
    """In the order in which to declare: exchanges, implied queues, queues, bindings; each once.

    Raises ConfigurationError if one name stands for two different queues or exchanges. A queue that is declared
    explicitly wins over the one that another queue implies.
    """
    values = list(declared)
    for value in values:
        if not isinstance(value, Queue | Exchange | Binding):
            hint = f": write Queue({value!r})" if isinstance(value, str) and len(value) > 1 else ""
            raise ConfigurationError(
                f"declare= takes a list of Queue, Exchange and Binding values, not {type(value).__name__}{hint}"
            )
    values = list(dict.fromkeys(values))
    exchanges = [value for value in values if isinstance(value, Exchange)]
    queues = [value for value in values if isinstance(value, Queue)]
    bindings = [value for value in values if isinstance(value, Binding)]
    _check_unique("exchange", exchanges)
    _check_unique("queue", queues)
    explicit = {queue.name for queue in queues}
    implied = dict.fromkeys(extra for queue in queues for extra in queue.implied() if extra.name not in explicit)
    return (*exchanges, *implied, *queues, *bindings)


def _check_unique(kind: str, values: Iterable[Queue | Exchange]) -> None:
    seen: set[str] = set()
    for value in values:
        if value.name in seen:
            raise ConfigurationError(f"{kind} {value.name!r} is declared twice with different arguments: keep one")
        seen.add(value.name)
