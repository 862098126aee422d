"""What the broker would refuse in a declaration is refused here, with the field's name. Decisions only, no values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    from rmqpool.topology import Queue

__all__ = [
    "EXCHANGE_FIELDS",
    "QUEUE_FIELDS",
    "check_arguments",
    "check_exchange_type",
    "check_name",
    "check_queue",
    "check_text",
    "check_unstated",
    "milliseconds",
]

QUEUE_FIELDS = {
    "x-queue-type": "type",
    "x-delivery-limit": "delivery_limit",
    "x-max-length": "max_length",
    "x-max-length-bytes": "max_length_bytes",
    "x-overflow": "overflow",
    "x-message-ttl": "message_ttl",
    "x-expires": "expires",
    "x-dead-letter-exchange": "dead_letter_exchange",
    "x-dead-letter-routing-key": "dead_letter_routing_key",
    "x-dead-letter-strategy": "dead_letter_strategy",
    "x-single-active-consumer": "single_active_consumer",
    "x-max-priority": "max_priority",
    "x-consumer-timeout": "consumer_timeout",
}
EXCHANGE_FIELDS = {"alternate-exchange": "alternate_exchange"}

_OVERFLOWS = {
    "quorum": ("drop-head", "reject-publish"),
    "classic": ("drop-head", "reject-publish", "reject-publish-dlx"),
    "stream": (),
}
# Fields that only these types of queue know (rabbitmq.com/docs/queues, the feature matrix).
_ONLY_FOR = {
    "delivery_limit": ("quorum",),
    "dead_letter_strategy": ("quorum",),
    "max_priority": ("classic",),
    "exclusive": ("classic",),
    "auto_delete": ("classic",),
    "max_length": ("quorum", "classic"),
    "message_ttl": ("quorum", "classic"),
    "expires": ("quorum", "classic"),
    "dead_letter_exchange": ("quorum", "classic"),
    "dead_letter_routing_key": ("quorum", "classic"),
    "single_active_consumer": ("quorum", "classic"),
    "consumer_timeout": ("quorum", "classic"),
}
# Fields without a meaning for a queue that is not declared. What it is (type, single_active_consumer, consumer_timeout) may
# be said of one: who consumes it goes by that.
_DECLARED_ONLY = (
    "exclusive",
    "auto_delete",
    "delivery_limit",
    "max_length",
    "max_length_bytes",
    "overflow",
    "message_ttl",
    "expires",
    "dead_letter_exchange",
    "dead_letter_routing_key",
    "dead_letter_strategy",
    "max_priority",
    "arguments",
    "unstated",
)
_LONGEST = 315_360_000_000  # milliseconds: ten years, the most that RabbitMQ takes


def check_text(owner: str, name: str, text: object, *, empty: bool = True) -> None:
    """Raise unless ``text`` fits into an AMQP short string (255 bytes of UTF-8)."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{owner}: {name} must be a text, not {type(text).__name__}")
    if not text and not empty:
        raise ConfigurationError(f"{owner}: {name} is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(f"{owner}: {name} cannot be written as UTF-8") from None
    if size > 255:
        raise ConfigurationError(f"{owner}: {name} has {size} bytes; AMQP takes at most 255")


def check_name(kind: str, name: object) -> None:
    """Raise unless ``name`` is one that may be declared."""
    check_text(f"a {kind}" if kind == "queue" else f"an {kind}", "name", name, empty=False)
    text = str(name)
    if text.startswith("amq."):
        raise ConfigurationError(f"{kind} {text!r}: names that start with 'amq.' belong to the broker; choose another")
    if "\n" in text or "\r" in text:  # RabbitMQ strips them, so that the queue declared is not the queue asked for
        raise ConfigurationError(f"{kind} {text!r}: the name holds a line break; remove it")


def check_arguments(owner: str, arguments: object, fields: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the extra arguments; raise if one of them has a field of its own."""
    if not isinstance(arguments, Mapping):
        raise ConfigurationError(f"{owner}: arguments must be a mapping, not {type(arguments).__name__}")
    for name in arguments:
        check_text(owner, "the name of an argument", name, empty=False)
        if name in fields:
            raise ConfigurationError(f"{owner}: give {name!r} as {fields[name]}=, not in arguments")
    return dict(arguments)


def check_unstated(owner: str, names: object, fields: Mapping[str, str]) -> tuple[str, ...]:
    """The names of arguments to leave out, sorted; raise for what is no list of names that a field would state."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f"{owner}: unstated must be a list of arguments, such as ['x-delivery-limit']")
    given = sorted({str(name) for name in names})
    unknown = [name for name in given if name not in fields]
    if unknown:
        raise ConfigurationError(f"{owner}: unstated has {unknown[0]!r}; it may have: {', '.join(sorted(fields))}")
    return tuple(given)


def check_exchange_type(owner: str, kind: object) -> None:
    """Raise for a type that no broker has: RabbitMQ closes the whole connection over one (503, command invalid)."""
    check_text(owner, "type", kind, empty=False)
    if kind not in ("direct", "fanout", "topic", "headers") and not str(kind).startswith("x-"):
        raise ConfigurationError(
            f"{owner}: type is {kind!r}; it must be direct, fanout, topic, headers, or a plugin's type (x-…)"
        )


def check_queue(queue: Queue) -> None:
    """Raise if the fields of a queue do not go together, or one is out of its range."""
    if queue.type not in _OVERFLOWS:
        raise _wrong(queue, f"type is {queue.type!r}; it must be 'quorum', 'classic' or 'stream'")
    for name in ("durable", "exclusive", "auto_delete", "single_active_consumer"):
        if not isinstance(getattr(queue, name), bool):
            raise _wrong(queue, f"{name} must be True or False, not {type(getattr(queue, name)).__name__}")
    _check_passive(queue)
    _check_fields_of_type(queue)
    _check_ranges(queue)
    _check_dead_letter(queue)


def _check_passive(queue: Queue) -> None:
    """What a passive declaration cannot say would be believed, and be wrong."""
    if not isinstance(queue.passive, bool):
        raise _wrong(queue, f"passive must be True or False, not {type(queue.passive).__name__}")
    if not queue.passive:
        return
    said = [name for name in _DECLARED_ONLY if getattr(queue, name) not in (None, False, (), {})]
    said += ["dead_letter"] if isinstance(queue.dead_letter, str) else []
    if said:
        raise _wrong(queue, f"passive=True declares nothing, so {said[0]} would have no effect: leave one of them out")


def _check_fields_of_type(queue: Queue) -> None:
    if queue.type != "classic" and not queue.durable:
        raise _wrong(queue, f"durable=False, but a {queue.type} queue is always durable; leave it out")
    for name, types in _ONLY_FOR.items():
        value = getattr(queue, name)
        if value is not None and value is not False and queue.type not in types:
            raise _wrong(queue, f"{name} is not known to a {queue.type} queue, only to: {', '.join(types)}")
    allowed = _OVERFLOWS[queue.type]
    if queue.overflow is not None and queue.overflow not in allowed:
        raise _wrong(
            queue, f"overflow is {queue.overflow!r}; a {queue.type} queue takes: {', '.join(allowed) or 'none'}"
        )


def _check_ranges(queue: Queue) -> None:
    _check_whole(queue, "delivery_limit", 0, 2**31 - 1)  # 3.10 takes -1, and then drops at the first requeue
    _check_whole(queue, "max_length", 0, 2**53)
    _check_whole(queue, "max_length_bytes", 0, 2**53)
    _check_whole(queue, "max_priority", 1, 255)
    _check_duration(queue, "message_ttl", 0)
    _check_duration(queue, "expires", 1)
    _check_duration(queue, "consumer_timeout", 1)


def _check_dead_letter(queue: Queue) -> None:
    owner = f"queue {queue.name!r}"
    if not isinstance(queue.dead_letter, bool | str | None):
        raise _wrong(queue, f"dead_letter must be True, a queue's name or None, not {type(queue.dead_letter).__name__}")
    if isinstance(queue.dead_letter, str):
        check_name("queue", queue.dead_letter)
        if queue.type == "stream" or queue.dead_letter_exchange is not None:
            raise _wrong(queue, "dead_letter names a queue, but it is a stream or has a dead_letter_exchange: keep one")
    if queue.dead_letter_exchange is not None:
        check_text(owner, "dead_letter_exchange", queue.dead_letter_exchange)
    if queue.dead_letter_routing_key is not None:
        check_text(owner, "dead_letter_routing_key", queue.dead_letter_routing_key)
        if queue.dead_letter_exchange is None:
            raise _wrong(queue, "dead_letter_routing_key without dead_letter_exchange: give both")
    if (
        queue.dead_letter is True
        and queue.dead_letter_exchange is None
        and queue.type != "stream"
        and not queue.passive
    ):
        check_text(owner, "the name of its dead-letter queue", queue.dead_letter_queue)
    _check_strategy(queue)


def _check_strategy(queue: Queue) -> None:
    strategy = queue.dead_letter_strategy
    if strategy not in (None, "at-most-once", "at-least-once"):
        raise _wrong(queue, f"dead_letter_strategy is {strategy!r}; it must be 'at-least-once' or 'at-most-once'")
    lettering = queue.dead_letter_queue is not None or queue.dead_letter_exchange is not None
    if strategy is not None and not lettering:
        raise _wrong(queue, "dead_letter_strategy without dead-lettering: leave it out")
    if queue.type == "quorum" and lettering and strategy != "at-most-once" and queue.overflow == "drop-head":
        raise _wrong(
            queue,
            "overflow='drop-head' does not go with at-least-once dead-lettering: use 'reject-publish', "
            "or say dead_letter_strategy='at-most-once'",
        )


def _check_whole(queue: Queue, name: str, lowest: int, highest: int) -> None:
    value = getattr(queue, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise _wrong(queue, f"{name} is {value!r}; it must be a whole number from {lowest} to {highest}, or None")


def _check_duration(queue: Queue, name: str, lowest: int) -> None:
    value = getattr(queue, name)
    if value is None:
        return
    given = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise _wrong(queue, f"{name} must be seconds (a number or a timedelta), not {value!r}")
    if not lowest <= round(given * 1000) <= _LONGEST:
        raise _wrong(queue, f"{name} is {value!r}; it must be from {lowest / 1000:g} to {_LONGEST // 1000} seconds")


def milliseconds(duration: float | timedelta | None) -> int | None:
    """Whole milliseconds of seconds or of a timedelta; None stays None."""
    if duration is None:
        return None
    return round((duration.total_seconds() if isinstance(duration, timedelta) else duration) * 1000)


def _wrong(queue: Queue, text: str) -> ConfigurationError:
    return ConfigurationError(f"queue {queue.name!r}: {text}")
