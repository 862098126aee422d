"""Traces: what publishes a message and what handles it are one. Needs the extra ``tracing`` (opentelemetry-api).

Names follow OpenTelemetry's semantic conventions for messaging and RabbitMQ
(https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/). The context travels in the message's headers, as the
configured propagator writes it (``traceparent``, ``tracestate`` and ``baggage`` by default), through retry queues too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rmqpool.errors import ConfigurationError, DecodeError, PublishError
from rmqpool.message import Confirmation, Delivery, Message
from rmqpool.middleware import Middleware
from rmqpool.middlewares.ends import class_of, destination_of, end_of

try:
    from opentelemetry import context, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as missing:
    raise ConfigurationError("Tracing needs opentelemetry-api: pip install 'rmqpool[tracing]'") from missing

__all__ = ["Tracing"]

_SYSTEM = "rabbitmq"
_OUTSIDE = context.create_key("rmqpool-outside")  # in a handling's context: the one to go back to
_FAILED = frozenset({"failed", "rejected", "undecodable", "retried"})


class Tracing(Middleware):
    """A span ``publish <destination>`` for each publish, and ``process <queue>`` for each handling, as its child.

    Spans that the handler begins, and what it publishes, belong to the handling; in a batch, to that of its last message. A
    span of a handling that failed, or ended by Retry or Reject, has the status *error*, ``error.type`` and no text of the
    exception (it may hold anything), unless ``record_exceptions`` adds the exception with its traceback as an event.
    ``provider`` is the global one by default. Thread-safe.
    """

    def __init__(self, provider: TracerProvider | None = None, *, record_exceptions: bool = False) -> None:
        self._tracer = trace.get_tracer("rmqpool", tracer_provider=provider)
        self._record_exceptions = record_exceptions

    @staticmethod
    def headers(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """``given`` and the context of this moment, for messages that are published later, such as by an outbox:
        ``outbox.publish(connection, "orders", body, headers=Tracing.headers())``.
        """
        carrier: dict[str, Any] = dict(given or {})
        propagate.inject(carrier)
        return carrier

    # Publishing

    def before_publish(self, message: Message) -> Span:
        destination = destination_of(message)
        span = self._tracer.start_span(
            f"publish {destination}",
            kind=SpanKind.PRODUCER,
            attributes=_without_none(
                {
                    "messaging.system": _SYSTEM,
                    "messaging.operation.name": "publish",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": _joined(message.exchange, message.routing_key),
                    "messaging.rabbitmq.destination.routing_key": message.routing_key or None,
                    "messaging.message.id": message.message_id,
                    "messaging.message.conversation_id": message.correlation_id,
                    "messaging.message.body.size": len(message.body),
                }
            ),
        )
        headers: dict[str, Any] = dict(message.headers or {})
        propagate.inject(headers, trace.set_span_in_context(span))
        message.headers = headers or None
        return span

    def after_publish(self, message: Message, state: Span, confirmation: Confirmation) -> None:
        state.end()

    def on_publish_error(self, message: Message, state: Span, error: PublishError) -> None:
        self._fail(state, error, str(error.outcome))
        state.end()

    # Handling

    def before_handle(self, delivery: Delivery) -> tuple[Span, Context]:
        parent, told = _properties(delivery)
        span = self._tracer.start_span(
            f"process {delivery.queue}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=_without_none(
                {
                    "messaging.system": _SYSTEM,
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": _joined(delivery.exchange, delivery.routing_key, delivery.queue),
                    "messaging.rabbitmq.destination.routing_key": delivery.routing_key or None,
                    "messaging.rabbitmq.message.delivery_tag": delivery.delivery_tag,
                    "messaging.message.body.size": len(delivery.body),
                    **told,
                }
            ),
        )
        before = context.get_current()
        outside = context.get_value(_OUTSIDE, before)
        base = outside if isinstance(outside, Context) else before
        context.attach(context.set_value(_OUTSIDE, base, trace.set_span_in_context(span, parent)))
        return span, base

    def after_handle(self, delivery: Delivery, state: tuple[Span, Context], result: Any) -> None:
        span, base = state
        context.attach(base)  # not detach: the messages of a batch end in the order in which they began
        span.end()

    def on_handle_error(
        self, delivery: Delivery, state: tuple[Span, Context], error: BaseException
    ) -> BaseException | None:
        span, base = state
        context.attach(base)  # not detach: the messages of a batch end in the order in which they began
        end = end_of(error)
        span.set_attribute("rmqpool.outcome", end)
        if end in _FAILED:
            self._fail(span, error, class_of(error))
        span.end()
        return None

    def _fail(self, span: Span, error: BaseException, kind: str) -> None:
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))
        if self._record_exceptions:
            span.record_exception(error)


class _Headers(Getter[Mapping[str, Any]]):
    """Reads headers; what other clients wrote there may be of any type."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(key)
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return list(carrier)


_HEADERS = _Headers()


def _properties(delivery: Delivery) -> tuple[Context, dict[str, Any]]:
    """The context that the message carries, and attributes that stand in its properties, as far as they can be read."""
    try:
        return propagate.extract(delivery.headers, Context(), _HEADERS), {
            "messaging.message.id": delivery.message_id,
            "messaging.message.conversation_id": delivery.correlation_id,
            "rmqpool.attempt": delivery.attempt,
        }
    except DecodeError:
        return Context(), {}


def _joined(exchange: str, routing_key: str, queue: str = "") -> str:
    """``exchange:routing key:queue``; what is empty, or said already, is left out."""
    names = [exchange, routing_key, "" if queue == routing_key else queue]
    return ":".join(name for name in names if name) or "amq.default"


def _without_none(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
