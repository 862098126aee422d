"""From what the broker delivered to a :class:`Delivery`. Properties and names stay bytes until somebody reads them.

Both paths give the same values: the frame reader's bytes go through the same codec as pika's own objects, only later.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from pika.compat import long

from rmqpool.amqp import wire
from rmqpool.errors import DecodeError
from rmqpool.message import Delivery, Settler

__all__ = [
    "PROPERTIES",
    "Origin",
    "ReceivedDelivery",
    "delivery_from",
    "forget_unreadable",
    "has_priority",
    "has_reply_to",
    "receive",
]

_TAG_AND_BITS = Struct(">QB").unpack_from
# The flags of the properties (AMQP 0-9-1, 4.2.6.1; the order of the basic class), the highest bit first.
PROPERTIES = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
)
_FLAGS = {name: 0x8000 >> place for place, name in enumerate(PROPERTIES)}
_MORE_FLAGS = 1
# In the first byte, of which there are always two (frame_reader takes no header frame without).
_ENCODING_OR_HEADERS = (_FLAGS["content_encoding"] | _FLAGS["headers"]) >> 8
_PRIORITY = _FLAGS["priority"] >> 8
_REPLY_TO = _FLAGS["reply_to"] >> 8
_NAMES = ("consumer_tag", "exchange", "routing_key")


class Origin(NamedTuple):
    """What all deliveries of one read have in common: where they come from, what their tags belong to, and when it was
    (``time.monotonic``). One value for all of them, so that it costs a single delivery nothing.
    """

    queue: str
    epoch: int
    channel_serial: int
    received_at: float = 0.0


class ReceivedDelivery(Delivery):
    """A delivery that decodes itself when it is read; a slot that is not filled yet ends up in ``__getattr__``.

    Reading raises DecodeError (``properties``) if what the broker sent cannot be decoded. Thread-safe: two threads that
    read at once decode the same bytes.
    """

    __slots__ = ("_arguments", "_encoded", "_origin")
    _arguments: bytes
    _encoded: bytes
    _origin: Origin

    if not TYPE_CHECKING:  # for a type checker every attribute is declared by Delivery

        def __getattr__(self, name: str) -> Any:
            if name in _FLAGS:
                self._read_property(name)
            elif name in _NAMES:
                self._read_names()
            elif name in Origin._fields:
                setattr(self, name, getattr(self._origin, name))
            elif name == "on_settled":
                self.on_settled = None
            elif name == "tries":
                self.tries = 0
            elif name == "begun":
                self.begun = False
            else:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            return object.__getattribute__(self, name)

    def _read_property(self, name: str) -> None:
        flags = int.from_bytes(self._encoded[:2], "big")
        if not flags & (_FLAGS[name] | _MORE_FLAGS):
            setattr(self, name, {} if name == "headers" else None)
            return
        try:
            properties = wire.decode_properties(self._encoded)
        except ValueError as error:
            raise self._unreadable("properties", error) from error
        self._fill("headers", _headers_of(properties))
        for one in PROPERTIES:
            self._fill(one, getattr(properties, one))

    def _fill(self, name: str, value: Any) -> None:
        """What somebody has set, or changed, stays."""
        try:
            object.__getattribute__(self, name)
        except AttributeError:
            setattr(self, name, value)

    def _read_names(self) -> None:
        try:
            self.consumer_tag, _, _, self.exchange, self.routing_key = wire.parse_deliver(self._arguments)
        except ValueError as error:
            raise self._unreadable("exchange and routing key", error) from error

    def _unreadable(self, what: str, error: ValueError) -> DecodeError:
        return DecodeError(
            f"the {what} of delivery {self.delivery_tag} of queue {self.queue!r} cannot be read ({error}): look for what "
            "changes messages between the publisher and here",
            reason="properties",
        )

    def __repr__(self) -> str:
        try:
            return super().__repr__()
        except DecodeError:
            state = self.settled or "unsettled"
            return f"<Delivery with unreadable properties from {self.queue}, tag {self.delivery_tag}, {state}>"


def receive(contents: Iterable[wire.Content], origin: Origin, settler: Settler | None) -> list[Delivery]:
    """Deliveries of what the frame reader read (basic.deliver). Raises ValueError for anything else; hot path."""
    received: list[Delivery] = []
    new = ReceivedDelivery.__new__
    for method, arguments, properties, body in contents:
        if method != wire.DELIVER:
            raise ValueError(f"a consuming channel got method {method:#x}, which is no basic.deliver")
        delivery = new(ReceivedDelivery)
        delivery.delivery_tag, bits = _TAG_AND_BITS(arguments, arguments[0] + 1)  # behind the consumer tag
        delivery.redelivered = bits & 1 == 1
        delivery.body = body
        delivery.settler = settler
        delivery.settled = ""
        delivery._arguments = arguments
        delivery._encoded = properties
        delivery._origin = origin
        received.append(delivery)
    return received


def delivery_from(
    method: Any,
    properties: Any,
    body: bytes,
    *,
    queue: str,
    epoch: int,
    channel_serial: int,
    settler: Settler | None,
) -> Delivery:
    """A delivery of basic.deliver or basic.get-ok as pika hands it over."""
    return Delivery(
        body=body,
        exchange=method.exchange,
        routing_key=method.routing_key,
        delivery_tag=method.delivery_tag,
        redelivered=bool(method.redelivered),
        queue=queue,
        consumer_tag=getattr(method, "consumer_tag", ""),
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers=_headers_of(properties),
        delivery_mode=properties.delivery_mode,
        priority=properties.priority,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        expiration=properties.expiration,
        message_id=properties.message_id,
        timestamp=properties.timestamp,
        type=properties.type,
        user_id=properties.user_id,
        app_id=properties.app_id,
        epoch=epoch,
        channel_serial=channel_serial,
        settler=settler,
    )


def is_surely_plain(delivery: Delivery) -> bool:
    """True if the message has neither a content encoding nor headers, which is known without decoding anything."""
    return type(delivery) is ReceivedDelivery and not delivery._encoded[0] & _ENCODING_OR_HEADERS


def has_priority(delivery: Delivery) -> bool:
    """Whether the message carries a priority above 0; costs next to nothing where it carries none."""
    if type(delivery) is ReceivedDelivery and not delivery._encoded[0] & _PRIORITY:
        return False
    try:
        return bool(delivery.priority)
    except DecodeError:
        return False  # whoever handles it finds out


def has_reply_to(delivery: Delivery) -> bool:
    """Whether somebody waits for a reply; costs next to nothing where nobody does."""
    if type(delivery) is ReceivedDelivery and not delivery._encoded[0] & _REPLY_TO:
        return False
    try:
        return bool(delivery.reply_to)
    except DecodeError:
        return False  # nobody can tell where to


def forget_unreadable(delivery: Delivery) -> None:
    """From here on everything of ``delivery`` can be read: what cannot be decoded reads as absent.

    For whoever has to handle a message of which he knows already that something is wrong with it.
    """
    for names, empty in ((PROPERTIES, None), (_NAMES, "")):
        try:
            for name in names:
                getattr(delivery, name)
        except DecodeError:
            for name in names:
                setattr(delivery, name, {} if name == "headers" else empty)


def _headers_of(properties: Any) -> dict[str, Any]:
    return _plain(properties.headers) if properties.headers else {}


def _plain(value: Any) -> Any:
    """Header values without pika's ``long``, an int that shows itself as ``1L``."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, long) else value
