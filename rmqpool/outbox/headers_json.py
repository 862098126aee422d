"""Headers as JSON, for a jsonb column. What JSON, or Postgres' jsonb, cannot hold travels in an object with one key.

``{"$bytes": base64}`` · ``{"$decimal": text}`` · ``{"$datetime": seconds since 1970}`` · ``{"$text": base64 of UTF-8}``
for a text with a NUL, which Postgres takes in no text · ``{"$table": [[name, value], …]}`` for a table with a name that
begins with ``$`` or holds a NUL. Everything else stands for itself. Pure.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

__all__ = ["headers_from_json", "headers_to_json", "plain_text"]


def headers_to_json(headers: Mapping[str, Any]) -> str:
    """JSON of headers that :func:`rmqpool.header_checks.check_headers` has let through."""
    return json.dumps(_to_plain(headers), ensure_ascii=False, separators=(",", ":"))


def headers_from_json(text: str) -> dict[str, Any]:
    """The headers again. Raises ValueError for a text that :func:`headers_to_json` did not write."""
    try:
        headers = _from_plain(json.loads(text))
    except (TypeError, ArithmeticError, OSError, RecursionError) as error:  # a mark with something else in it
        raise ValueError(f"headers in JSON hold what nobody of us writes: {error!r:.200}") from error
    if not isinstance(headers, dict):
        raise ValueError(f"headers are an object in JSON, not {type(headers).__name__}")
    return headers


def plain_text(text: str) -> str | dict[str, str]:
    """A text as jsonb takes it: itself, or in an object if it holds a NUL."""
    return {"$text": base64.b64encode(text.encode()).decode()} if "\0" in text else text


def _to_plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        if any(name.startswith("$") or "\0" in name for name in value):
            return {"$table": [[plain_text(name), _to_plain(one)] for name, one in value.items()]}
        return {name: _to_plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(one) for one in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime):
        return {"$datetime": int(value.timestamp())}
    raise TypeError(f"a header of type {type(value).__name__} was not checked")


def _table(pairs: list[list[Any]]) -> dict[str, Any]:
    return {_from_plain(name): _from_plain(one) for name, one in pairs}


_TAGS: dict[str, Callable[[Any], Any]] = {
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$decimal": Decimal,
    "$datetime": lambda seconds: datetime.fromtimestamp(seconds, UTC),
    "$text": lambda text: base64.b64decode(text, validate=True).decode(),
    "$table": _table,
}


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name in _TAGS:
            return _TAGS[name](inner)
    return {name: _from_plain(one) for name, one in value.items()}
