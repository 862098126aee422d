"""Typed bodies: a decoded value becomes what the handler's annotation asks for, or the error names the path.

pydantic does it, in its lax mode (``"7"`` is an int, ISO 8601 text a datetime); it is there with pydantic-settings.
msgspec, where it is installed, does what pydantic cannot: Structs, and typing.TypedDict before Python 3.12.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from rmqpool.errors import ConfigurationError, DecodeError
from rmqpool.late_imports import IMPORTING

__all__ = ["convert", "converter"]

Converter = Callable[[Any], Any]

_AS_IT_IS: tuple[Any, ...] = (Any, object, inspect.Parameter.empty)
_SHOWN = 5


def convert(value: Any, annotation: Any) -> Any:
    """``value`` as ``annotation`` asks for it. Raises DecodeError (``validation``), without the value in its text.

    Raises ConfigurationError if nothing can validate such an annotation.
    """
    return converter(annotation)(value)


def converter(annotation: Any) -> Converter:
    """The function that does it, made once for each annotation. Call it when a handler is registered.

    Raises ConfigurationError if nothing can validate such an annotation. Thread-safe.
    """
    try:
        return _cached(annotation)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _make(annotation)


@functools.lru_cache(maxsize=1024)
def _cached(annotation: Any) -> Converter:
    return _make(annotation)


def _make(annotation: Any) -> Converter:
    if any(annotation is simple for simple in _AS_IT_IS):
        return lambda value: value
    if annotation is bytes:
        return _only_bytes
    if isinstance(annotation, str):
        raise ConfigurationError(
            "the annotation is a text that was not resolved: use typing.get_type_hints, or the type"
        )
    if isinstance(annotation, type) and annotation in (dict, list, str, int, float, bool):
        return _unless_it_is(annotation, _with_pydantic(annotation))
    return _with_pydantic(annotation)


def _only_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return value
    raise DecodeError(f"the handler takes bytes, the body holds a {type(value).__name__}", reason="validation")


def _unless_it_is(kind: type, otherwise: Converter) -> Converter:
    return lambda value: value if type(value) is kind else otherwise(value)


def _with_pydantic(annotation: Any) -> Converter:
    with IMPORTING:
        from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except (PydanticUserError, NameError, TypeError) as error:
        return _with_msgspec(annotation, error)

    def validate(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            raise DecodeError(_told(annotation, _pydantic_faults(error)), reason="validation") from None
        except RecursionError:
            raise DecodeError(_told(annotation, ["nested too deeply"]), reason="validation") from None

    return validate


def _pydantic_faults(error: Any) -> list[str]:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{_path(fault['loc'])}: {fault['msg']}" for fault in faults]


def _path(location: tuple[int | str, ...]) -> str:
    return "body" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _with_msgspec(annotation: Any, problem: Exception) -> Converter:
    try:
        with IMPORTING:
            import msgspec

        msgspec.json.schema(annotation)  # raises for a type that it does not know; a Decoder would not
    except (ImportError, TypeError, NameError) as error:
        raise ConfigurationError(
            f"a body cannot be turned into {_name(annotation)}: use a dataclass, a pydantic model, a msgspec Struct "
            f"(rmqpool[msgspec]), typing_extensions.TypedDict, or a built-in type ({type(problem).__name__})"
        ) from error

    def validate(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation)
        except msgspec.ValidationError as error:
            raise DecodeError(_told(annotation, [str(error)]), reason="validation") from None
        except RecursionError:
            raise DecodeError(_told(annotation, ["nested too deeply"]), reason="validation") from None

    return validate


def _told(annotation: Any, faults: list[str]) -> str:
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return f"the body is no {_name(annotation)}: {'; '.join(faults[:_SHOWN])}{more}"


def _name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
