"""Plain JSON, as every language reads it. What has no JSON form becomes a text, or is refused with its path.

dataclass, pydantic model, msgspec Struct -> object · tuple, set, frozenset, deque -> array (a set's order is undefined)
· datetime, date, time -> ISO 8601 text · Decimal, UUID -> text · Enum -> its value · a pydantic model has its own JSON
form, by alias. Refused: NaN and infinity (RFC 8259, section 6), bytes, half surrogate pairs, everything else.

On receipt kombu's tagged form, ``{"__type__": "datetime", "__value__": …}``, is understood for a fixed list of types.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn
from uuid import UUID

from rmqpool.errors import EncodeError

__all__ = ["dump_json", "load_json", "plain_value"]


def dump_json(value: object) -> bytes:
    """UTF-8 JSON without white space. Raises EncodeError, which names path and type of what has no JSON form."""
    try:
        return _encoder.encode(value).encode()
    except Exception as error:
        raise _explained(value, error) from error


def plain_value(value: object) -> Any:
    """``value`` made of dict, list, str, int, float, bool, None and bytes only, by the rules of this module.

    For codecs of other formats; keys must be texts, as those refuse others on receipt. Raises EncodeError.
    """
    try:
        return _plain(value)
    except Exception as error:
        raise _explained(value, error, binary=True) from error


def load_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError (NaN and infinity are no JSON) and RecursionError."""
    hook = _kombu_type if '"__type__"' in text else None
    return json.loads(text, object_hook=hook, parse_constant=_refuse_constant)


def _substitute(value: Any) -> Any:
    """What json writes in the place of a value that it does not know. TypeError if there is nothing."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("is not a finite number")
        return str(value)
    if isinstance(value, set | frozenset | deque):
        return list(value)
    return _substitute_object(value)


def _substitute_object(value: Any) -> Any:
    pydantic, msgspec = sys.modules.get("pydantic"), sys.modules.get("msgspec")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(
            value, builtin_types=(bytes, bytearray, memoryview, datetime, date, time, Decimal, UUID)
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("is bytes, which JSON cannot hold: send bytes as the whole body, or as base64 text")
    raise TypeError(
        f"is a {type(value).__qualname__}, which has no JSON form: make a dict, a list, a text, a number or a "
        "dataclass of it"
    )


_encoder = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,  # a circle ends in a RecursionError, which is caught
    allow_nan=False,
    separators=(",", ":"),
    default=_substitute,
)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | bytes):
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, int | float | str):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("has a key that is no text")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(_substitute(value))


def _explained(value: object, error: Exception, *, binary: bool = False) -> EncodeError:
    if isinstance(error, RecursionError):
        return EncodeError("body cannot be encoded: it contains itself, or is nested too deeply", field="body")
    with contextlib.suppress(RecursionError):  # looking for the fault needs more of the stack than meeting it
        for path, fault in _faults(value, "body", binary):
            return EncodeError(f"{path} {fault}", field=path)
    return EncodeError(
        f"body cannot be encoded: {type(error).__name__} was raised by {type(value).__qualname__}", field="body"
    )


def _faults(value: Any, path: str, binary: bool) -> Iterator[tuple[str, str]]:
    """Path and reason of everything that cannot be encoded. Only walked after an error."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str if binary else str | int | float | bool | None):
                yield path, f"has a key of type {type(key).__qualname__}; keys must be texts"
            yield from _faults(key, f"{path}, a key of it,", binary) if isinstance(key, str) else ()
            yield from _faults(item, _member(path, key), binary)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _faults(item, f"{path}[{position}]", binary)
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            yield path, f"is {value}, which JSON does not know; send null or a text"
    elif isinstance(value, str):
        if not _encodable(value):
            yield path, "is a text with half a surrogate pair, which UTF-8 cannot hold"
    elif not (
        value is None or isinstance(value, int) or (binary and isinstance(value, bytes | bytearray | memoryview))
    ):
        yield from _faults_of_substitute(value, path, binary)


def _faults_of_substitute(value: Any, path: str, binary: bool) -> Iterator[tuple[str, str]]:
    try:
        substitute = _substitute(value)
    except (TypeError, ValueError) as error:
        told = str(error) if str(error).startswith("is ") else f"raised {type(error).__name__} while it was encoded"
        yield path, told
    except Exception as error:  # noqa: BLE001 - a property or serializer of the user's; dump_json chains it
        yield path, f"raised {type(error).__name__} while it was encoded"
    else:
        yield from _faults(substitute, path, binary)


def _member(path: str, key: object) -> str:
    return f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{str(key)[:40]!r}]"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# kombu.utils.json; not its registry, which any import may open up
_KOMBU_TYPES: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda text: datetime.fromisoformat(text).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda fields: UUID(hex=fields["hex"]),
    "bytes": lambda text: text.encode(),
    "base64": lambda text: base64.b64decode(text, validate=True),
}


def _kombu_type(value: dict[str, Any]) -> Any:
    if value.keys() != {"__type__", "__value__"}:
        return value
    read = _KOMBU_TYPES.get(value["__type__"]) if isinstance(value["__type__"], str) else None
    if read is None:
        return value
    try:
        return read(value["__value__"])
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        raise ValueError("a value in kombu's tagged form is not of the type that it names") from None
