"""What a handler function takes, found out once from its signature, and how a delivery becomes its arguments.

Whatever is wrong with a signature is a ConfigurationError when the handler is registered, never at its first message.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rmqpool.amqp.deliveries import is_surely_plain
from rmqpool.codecs import BINARY, JSON, MSGPACK, TEXT, YAML, decode_body, needed_extra
from rmqpool.compression import compression_of
from rmqpool.conversion import converter
from rmqpool.errors import ConfigurationError
from rmqpool.message import Delivery

__all__ = [
    "POSITIONAL",
    "VARIABLE",
    "Arguments",
    "Handler",
    "annotation_of",
    "check_callable",
    "content_types",
    "decoder",
    "inspect_handler",
    "is_transaction",
    "name_of",
    "parameters_of",
]

_SHORT_NAMES = {"json": JSON, "text": TEXT, "bytes": BINARY, "binary": BINARY, "msgpack": MSGPACK, "yaml": YAML}
_EMPTY = inspect.Parameter.empty
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# By name: whoever has no Postgres has no psycopg either, and nothing of the outbox is imported for them.
_TRANSACTIONS = [("rmqpool.outbox.transaction", name) for name in ("Transaction", "AsyncTransaction")]
_UNTYPED: tuple[Any, ...] = (Any, object, _EMPTY)

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and what it takes. ``arguments`` turns a delivery into a call's arguments, or raises DecodeError."""

    function: Callable[..., Any]
    name: str
    is_async: bool
    takes_delivery: bool
    transaction_as: str | None  # the name of the parameter that takes it
    arguments: Callable[[Delivery], Arguments]


def inspect_handler(function: Callable[..., Any], accept: Collection[str]) -> Handler:
    """Find out what ``function`` takes: a body, a body and a delivery, or a delivery only; and a transaction.

    ``accept`` names content types in full. Raises ConfigurationError, naming the function and what is wrong.
    """
    name = name_of(function)
    called = check_callable(function)
    first, delivery, transaction = parameters_of(
        function,
        name,
        _is_delivery,
        f"takes no message: its first parameter must be the body, such as {_example(name)}",
        f"a handler takes the body and, if it wants, the delivery, as in {_example(name)}",
    )
    body_type = annotation_of(function, first, name)
    if body_type is Delivery:
        if delivery is not None:
            raise ConfigurationError(
                f"handler {name} asks for the delivery twice: give the first parameter a body type"
            )
        is_async = inspect.iscoroutinefunction(called)
        return Handler(function, name, is_async, True, transaction, lambda received: ((received,), {}))
    decode = decoder(body_type, accept, name)
    return Handler(
        function,
        name,
        inspect.iscoroutinefunction(called),
        delivery is not None,
        transaction,
        _arguments(decode, delivery),
    )


def check_callable(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when ``function`` is called, which may be an object. Raises ConfigurationError for what cannot be a handler."""
    name = name_of(function)
    if not callable(function):
        raise ConfigurationError(f"handler {name} cannot be called: decorate a function")
    called: Callable[..., Any] = (
        function if inspect.isroutine(function) else getattr(function, "func", type(function).__call__)
    )
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise ConfigurationError(f"handler {name} is a generator: it would never run; replace its yield")
    return called


def content_types(accept: Collection[str]) -> tuple[str, ...]:
    """Content types in full; ``json``, ``text``, ``bytes``, ``msgpack`` and ``yaml`` are short for theirs.

    Raises ConfigurationError for a name that is neither, and for one whose library is not installed.
    """
    if isinstance(accept, str) or not accept:
        raise ConfigurationError(f"accept is {accept!r}; give a list of content types, such as ['json', 'text/csv']")
    full = []
    for name in accept:
        if not isinstance(name, str) or (name not in _SHORT_NAMES and "/" not in name):
            raise ConfigurationError(
                f"accept names {name!r}; give a content type such as 'text/csv', or one of: {', '.join(_SHORT_NAMES)}"
            )
        full.append(_SHORT_NAMES.get(name, name))
        if (extra := needed_extra(full[-1])) is not None:
            raise ConfigurationError(f"accept names {name!r}, which needs a library: pip install 'rmqpool[{extra}]'")
    return tuple(full)


def name_of(function: object) -> str:
    """A handler's name in messages: its module and its qualified name."""
    kind = type(function)
    name = getattr(function, "__qualname__", None) or f"{kind.__qualname__} object"
    return f"{getattr(function, '__module__', kind.__module__)}.{name}"


def parameters_of(
    function: Callable[..., Any],
    name: str,
    is_received: Callable[[Callable[..., Any], inspect.Parameter, str], bool],
    takes_nothing: str,
    takes: str,
) -> tuple[inspect.Parameter, inspect.Parameter | None, str | None]:
    """The first parameter, the one that ``is_received`` finds if there is one, and the name of the transaction's.

    ``takes_nothing`` and ``takes`` tell, in errors, what a handler of this kind takes. Raises ConfigurationError.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        raise ConfigurationError(f"handler {name} has no signature that can be read: wrap it in a function") from None
    if not parameters or parameters[0].kind not in POSITIONAL:
        raise ConfigurationError(f"handler {name} {takes_nothing}")
    received, transaction = None, None
    for parameter in parameters[1:]:
        if transaction is None and is_transaction(function, parameter, name):
            transaction = parameter.name
        elif received is None and is_received(function, parameter, name):
            received = parameter
        elif parameter.default is _EMPTY and parameter.kind not in VARIABLE:
            raise ConfigurationError(
                f"handler {name} has a parameter {parameter.name!r} that nothing fills: {takes}; give the parameter a "
                "default, or remove it"
            )
    return parameters[0], received, transaction


def _example(name: str) -> str:
    return f"def {name.rpartition('.')[2]}(body: dict, delivery: Delivery)"


def _is_delivery(function: Callable[..., Any], parameter: inspect.Parameter, name: str) -> bool:
    if parameter.kind in VARIABLE:
        return False
    annotation = annotation_of(function, parameter, name)
    typed = annotation is Delivery or Delivery in typing.get_args(annotation)  # Delivery | None has a default
    if parameter.name == "delivery" and not typed and annotation not in _UNTYPED:
        raise ConfigurationError(f"handler {name} types delivery as {annotation!r}; it is a rmqpool.Delivery")
    return typed or parameter.name == "delivery"


def is_transaction(function: Callable[..., Any], parameter: inspect.Parameter, name: str) -> bool:
    """By its name, or by its type: then its name does not matter."""
    if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        return False
    if parameter.name == "transaction":
        return True  # whatever its type says: that may be imported for type checkers only
    annotation = parameter.annotation
    if isinstance(annotation, str) and "Transaction" not in annotation:
        return False
    kind = annotation_of(function, parameter, name)
    kind = typing.get_origin(kind) or kind  # Transaction[sqlalchemy.Connection]
    return (getattr(kind, "__module__", ""), getattr(kind, "__name__", "")) in _TRANSACTIONS


def annotation_of(function: Callable[..., Any], parameter: inspect.Parameter, name: str) -> Any:
    """The parameter's type; a text (``from __future__ import annotations``) is looked up where the function is."""
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        return annotation
    holder = inspect.unwrap(getattr(function, "func", function))
    owner = holder if inspect.isroutine(holder) else type(holder).__call__
    namespace: Mapping[str, Any] = getattr(getattr(owner, "__func__", owner), "__globals__", {})
    try:
        return typing.get_type_hints(_Annotated(parameter.name, annotation), dict(namespace), include_extras=True)[
            parameter.name
        ]
    except Exception as error:
        raise ConfigurationError(
            f"handler {name}: the type {annotation!r} of parameter {parameter.name!r} cannot be found ({error}); define "
            "or import it at the top of the handler's module"
        ) from error


class _Annotated:
    """One annotation for typing.get_type_hints, so that a bad one elsewhere does not matter."""

    def __init__(self, name: str, annotation: str) -> None:
        self.__annotations__ = {name: annotation}


def decoder(body_type: Any, accept: Collection[str], name: str) -> Callable[[Delivery], Any]:
    """From a delivery to a value of ``body_type``.

    ``bytes`` is the body as it is, whatever its content type (decompressed). A message without a content type is read
    as the first type of ``accept`` when the handler asks for something that bytes are not.
    """
    try:
        convert = converter(body_type)
    except ConfigurationError as error:
        raise ConfigurationError(f"handler {name}: {error}") from error
    if body_type is bytes:
        return _raw
    if any(body_type is kind for kind in _UNTYPED):
        return lambda received: _decoded(received, received.content_type, accept)
    assumed = TEXT if body_type is str else next(iter(accept))

    def decode(received: Delivery) -> Any:
        if received.content_type:
            return convert(_decoded(received, received.content_type, accept))
        return convert(_decoded(received, assumed, (assumed,)))

    return decode


def _decoded(received: Delivery, content_type: str | None, accept: Collection[str]) -> Any:
    return decode_body(received.body, content_type, received.content_encoding, received.headers, accept=accept)


def _raw(received: Delivery) -> bytes:
    if is_surely_plain(received) or not compression_of(received.content_encoding, received.headers):
        return received.body
    plain: bytes = decode_body(received.body, None, received.content_encoding, received.headers)
    return plain


def _arguments(
    decode: Callable[[Delivery], Any], delivery: inspect.Parameter | None
) -> Callable[[Delivery], Arguments]:
    if delivery is None:
        return lambda received: ((decode(received),), {})
    if delivery.kind is inspect.Parameter.POSITIONAL_ONLY:
        return lambda received: ((decode(received), received), {})
    name = delivery.name
    return lambda received: ((decode(received),), {name: received})
