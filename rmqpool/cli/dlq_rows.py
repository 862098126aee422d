"""How a dead letter is told: a row, a page, or an object. Control characters never reach the terminal."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from rmqpool.cli.outbox_session import seconds_text
from rmqpool.dlq import DeadLetter
from rmqpool.dlq.letter import plain
from rmqpool.dlq.lines import PROPERTIES
from rmqpool.errors import DecodeError

__all__ = ["COLUMNS", "as_json", "page", "row", "safe"]

COLUMNS = ("position", "message id", "queue", "reason", "attempt", "parked", "exception")
_CELL = 100  # characters
_BODY = 2000


def row(letter: DeadLetter) -> list[str]:
    """The cells of :data:`COLUMNS`, each on one line."""
    try:
        cells = [
            letter.message_id or "-",
            letter.queue or "-",
            letter.reason or "-",
            str(letter.attempt or "-"),
            _parked(letter),
            letter.exception or "-",
        ]
    except DecodeError:
        cells = ["-", "-", "(its properties cannot be read)", "-", "-", "-"]
    return [str(letter.position), *(_shortened(" ".join(safe(cell).split()), _CELL) for cell in cells)]


def as_json(letter: DeadLetter, *, whole: bool) -> dict[str, Any]:
    """The object for machines; ``whole``: with headers, properties, traceback and body."""
    try:
        told = {
            "position": letter.position,
            "message_id": letter.message_id,
            "queue": letter.queue,
            "reason": letter.reason,
            "attempt": letter.attempt,
            "parked_at": letter.parked_at.isoformat() if letter.parked_at else None,
            "exchange": letter.exchange,
            "routing_key": letter.routing_key,
            "exception": letter.exception,
            "worker": letter.worker,
            "bytes": len(letter.delivery.body),
        }
        if whole:
            told |= {"traceback": letter.traceback, "headers": plain(letter.headers), "properties": _properties(letter)}
    except DecodeError as error:
        told = {"position": letter.position, "problem": str(error), "bytes": len(letter.delivery.body)}
    return {**told, **_body(letter)} if whole else told


def page(letter: DeadLetter, queue: str) -> str:
    """All of a message, for people; a long body is shortened."""
    try:
        facts = {
            "reason": letter.reason,
            "exception": letter.exception,
            "attempt": letter.attempt or "",
            "parked": _parked(letter)
            if letter.parked_at is None
            else f"{letter.parked_at.isoformat()} ({_parked(letter)})",
            "by": letter.worker,
            "queue": letter.queue,
            "exchange": letter.exchange or "(default)",
            "routing key": letter.routing_key,
        }
        parts = [
            f"message {safe(letter.message_id) or 'without id'}, number {letter.position} of {queue}",
            _listed({name: value for name, value in facts.items() if value != ""}),
            "properties:\n" + _listed(_properties(letter)),
            "headers:\n" + _listed({name: value for name, value in plain(letter.headers).items() if not _told(name)}),
        ]
        if letter.traceback:
            parts.append("traceback:\n" + _indented(safe(letter.traceback.rstrip())))
    except DecodeError as error:
        parts = [f"message number {letter.position} of {queue}", str(error)]
    parts.append(f"body, {len(letter.delivery.body):,} bytes:\n" + _indented(_readable(letter)))
    return "\n".join(part for part in parts if not part.endswith(":\n"))


def safe(text: str) -> str:
    """``text`` with its control characters, line ends and tabs apart, as escapes: a message must not steer a terminal."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text
    )


def _told(name: str) -> bool:
    return name.startswith("x-rmqpool-exception-")


def _parked(letter: DeadLetter) -> str:
    age = letter.age(datetime.now(UTC))
    return "-" if age is None else f"{seconds_text(age)} ago"


def _properties(letter: DeadLetter) -> dict[str, Any]:
    return {name: plain(value) for name in PROPERTIES if (value := getattr(letter.delivery, name)) is not None}


def _body(letter: DeadLetter) -> dict[str, str]:
    try:
        return {"body": letter.delivery.body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(letter.delivery.body).decode()}


def _readable(letter: DeadLetter) -> str:
    content = letter.content
    if content is None:
        text = repr(letter.decoded[:_BODY])
    elif isinstance(content, str):
        text = content
    else:
        text = json.dumps(content, indent=2, ensure_ascii=False)
    if len(text) > _BODY:
        return safe(text[:_BODY]) + f"\n… and {len(text) - _BODY:,} characters more (--raw gives all)"
    return safe(text)


def _listed(values: dict[str, Any]) -> str:
    width = max((len(name) for name in values), default=0)
    lines = [
        f"  {safe(name):<{width}}  {safe(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}"
        for name, value in values.items()
    ]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
