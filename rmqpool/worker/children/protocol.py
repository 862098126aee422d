"""What a worker and its child processes tell each other. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rmqpool.amqp.deliveries import PROPERTIES
from rmqpool.codecs import EncodedBody
from rmqpool.core.disposition import Ended
from rmqpool.message import Delivery
from rmqpool.worker.failure import Failure

__all__ = ["Begun", "Broken", "Job", "Logged", "Outcome", "Ready", "Setup", "job_of"]

_FIELDS = (
    "body",
    "exchange",
    "routing_key",
    "delivery_tag",
    "redelivered",
    "queue",
    "consumer_tag",
    *PROPERTIES,
    "tries",
)


@dataclass(frozen=True, slots=True)
class Setup:
    """The first thing that a child hears. ``main`` says how to import the program's ``__main__``, if the handler is there
    (as :func:`multiprocessing.spawn.prepare` takes it).
    """

    parent: int  # process id
    path: tuple[str, ...]
    argv: tuple[str, ...]
    main: dict[str, str]
    module: str
    qualname: str
    accept: tuple[str, ...]
    time_limit: float | None
    memory_limit: int | None
    log_levels: dict[str, int]  # by the logger's name, "" is the root


@dataclass(frozen=True, slots=True)
class Ready:
    """The handler is loaded; ``memory`` bytes are in use."""

    memory: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The handler could not be loaded. The child ends."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Job:
    """A delivery as plain values. ``wants_reply``: somebody waits for what the handler returns."""

    fields: dict[str, Any]
    wants_reply: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """The message has arrived, and is handled now. Whoever dies before that was not killed by its handler."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a handling ended; ``ended`` None: the handler returned.

    ``reason`` and ``delay`` are a verdict's; ``kinds`` are module and name of the exception's class and of its bases;
    ``reply`` is what the handler returned, encoded, if somebody waits for it (if it cannot be encoded, ``failure`` says why);
    ``memory`` bytes are in use; ``exhausted``: there was no more; ``skipped``: the verdict was Skip; ``kept``: it was
    Postpone, with that ``keep``.
    """

    ended: Ended | None
    failure: Failure = field(default_factory=lambda: Failure(""))
    reason: str = ""
    delay: float | None = None
    kinds: tuple[tuple[str, str], ...] = ()
    reply: EncodedBody | None = None
    memory: int = 0
    exhausted: bool = False
    skipped: bool = False
    kept: bool | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """A log record of the child, ready to be handled in the worker."""

    record: dict[str, Any]


def job_of(delivery: Delivery, *, answers: bool = True) -> Job:
    """Everything of ``delivery`` but its settler. ``answers``: its result is sent to whoever asked for a reply.

    Raises DecodeError if its properties cannot be read.
    """
    return Job({name: getattr(delivery, name) for name in _FIELDS}, answers and bool(delivery.reply_to))
