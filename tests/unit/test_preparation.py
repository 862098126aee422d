"""A message that is prepared can be sent; one that cannot is refused with the name of the field."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import Basic, BasicProperties

from rmqpool.errors import EncodeError, MessageError, MessageTooLargeError
from rmqpool.message import Message
from rmqpool.preparation import prepare_message


def prepare(exchange="", routing_key="orders", body=b"x", **options) -> Message:
    return prepare_message(exchange, routing_key, body, **{"max_message_size": 1000, "new_id": lambda: "id", **options})


def encoded(message: Message) -> bytes:
    """What pika writes for it: method and properties."""
    properties = BasicProperties(
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=message.headers,
        delivery_mode=message.delivery_mode,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        expiration=message.expiration,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        user_id=message.user_id,
        app_id=message.app_id,
    )
    method = Basic.Publish(exchange=message.exchange, routing_key=message.routing_key, mandatory=message.mandatory)
    return b"".join([*method.encode(), *properties.encode()])


def test_a_plain_message_is_mandatory_persistent_and_has_an_id():
    """The safe defaults."""
    message = prepare(body={"id": 7})
    assert (message.exchange, message.routing_key, message.body) == ("", "orders", b'{"id":7}')
    assert (message.mandatory, message.delivery_mode, message.message_id) == (True, 2, "id")
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.headers is None
    assert message.priority is message.expiration is message.timestamp is message.user_id is None


def test_every_property_is_taken_over():
    """Under AMQP's names."""
    message = prepare(
        "events",
        message_id="mine",
        headers={"a": 1},
        priority=5,
        expiration=1.5,
        correlation_id="c",
        reply_to="r",
        type="t",
        user_id="guest",
        connection_user="guest",
        app_id="app",
        timestamp=7,
        content_type="image/png",
        content_encoding="x",
        persistent=False,
        mandatory=False,
    )
    assert (message.exchange, message.message_id, message.headers) == ("events", "mine", {"a": 1})
    assert (message.priority, message.expiration, message.timestamp) == (5, "1500", 7)
    assert (message.correlation_id, message.reply_to, message.type) == ("c", "r", "t")
    assert (message.user_id, message.app_id) == ("guest", "app")
    assert (message.content_type, message.content_encoding) == ("image/png", "x")
    assert (message.delivery_mode, message.mandatory) == (1, False)


@pytest.mark.parametrize(
    ("expiration", "text"),
    [
        (0, "0"),
        (1, "1000"),
        (0.0001, "1"),
        (60.5, "60500"),
        (timedelta(minutes=1), "60000"),
        ("60000", "60000"),
        ("007", "7"),
        (315_360_000, "315360000000"),
    ],
)
def test_an_expiration_becomes_milliseconds(expiration, text):
    """Seconds as numbers, milliseconds as text; a moment never becomes nothing."""
    assert prepare(expiration=expiration).expiration == text


@pytest.mark.parametrize(
    ("timestamp", "seconds"),
    [
        (0, 0),
        (1_700_000_000, 1_700_000_000),
        (datetime(1970, 1, 2, tzinfo=UTC), 86400),
        (datetime(1970, 1, 1, 2, 0, 0, 999999, tzinfo=timezone(timedelta(hours=2))), 0),
    ],
)
def test_a_timestamp_is_whole_seconds(timestamp, seconds):
    """Of a number or an aware datetime."""
    assert prepare(timestamp=timestamp).timestamp == seconds


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"exchange": "e" * 256}, "exchange"),
        ({"exchange": None}, "exchange"),
        ({"exchange": ["e"]}, "exchange"),
        ({"routing_key": "é" * 128}, "routing_key"),
        ({"routing_key": 5}, "routing_key"),
        ({"routing_key": {}}, "routing_key"),
        ({"routing_key": "\ud800"}, "routing_key"),
        ({"message_id": "m" * 256}, "message_id"),
        ({"message_id": 5}, "message_id"),
        ({"correlation_id": "c" * 256}, "correlation_id"),
        ({"reply_to": b"r"}, "reply_to"),
        ({"type": 5}, "type"),
        ({"app_id": "é" * 128}, "app_id"),
        ({"content_type": "c" * 256}, "content_type"),
        ({"content_type": 5}, "content_type"),
        ({"content_type": 5, "body": {}}, "content_type"),
        ({"content_encoding": "c" * 256}, "content_encoding"),
        ({"content_encoding": "gzip", "body": {}}, "content_encoding"),
        ({"content_encoding": "gzip", "compression": "gzip"}, "content_encoding"),
        ({"compression": "zstd"}, "compression"),
        ({"priority": -1}, "priority"),
        ({"priority": 256}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 1.0}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"expiration": "abc"}, "expiration"),
        ({"expiration": "-1"}, "expiration"),
        ({"expiration": "1.5"}, "expiration"),
        ({"expiration": ""}, "expiration"),
        ({"expiration": "٣"}, "expiration"),
        ({"expiration": "9" * 30}, "expiration"),
        ({"expiration": -1}, "expiration"),
        ({"expiration": -0.0001}, "expiration"),
        ({"expiration": True}, "expiration"),
        ({"expiration": float("nan")}, "expiration"),
        ({"expiration": float("inf")}, "expiration"),
        ({"expiration": 315_360_001}, "expiration"),
        ({"expiration": timedelta(-1)}, "expiration"),
        ({"expiration": b"5"}, "expiration"),
        ({"timestamp": -1}, "timestamp"),
        ({"timestamp": 1.5}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"timestamp": 1_700_000_000_000}, "timestamp"),
        ({"timestamp": datetime(2026, 1, 1)}, "timestamp"),
        ({"timestamp": datetime(1960, 1, 1, tzinfo=UTC)}, "timestamp"),
        ({"user_id": "other", "connection_user": "guest"}, "user_id"),
        ({"user_id": 5}, "user_id"),
        ({"headers": {"CC": "orders"}}, "headers['CC']"),
        ({"headers": {"a": 1.5}}, "headers['a']"),
        ({"headers": "x"}, "headers"),
        ({"body": object()}, "body"),
        ({"body": {"a": [object()]}}, "body.a[0]"),
        ({"body": bytes(1001)}, "body"),
        ({"body": "é" * 501}, "body"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_field(options, field):
    """Before anything is written."""
    with pytest.raises(MessageError) as caught:
        prepare(**options)
    assert caught.value.field == field


def test_a_refused_route_is_refused_each_time():
    """The cache of good routes keeps no bad one."""
    for _ in range(2):
        with pytest.raises(MessageError):
            prepare(routing_key="k" * 256)


def test_the_kind_of_the_error_tells_the_kind_of_the_mistake():
    """Too large, not encodable."""
    with pytest.raises(MessageTooLargeError, match="1001 bytes, and the broker takes 1000"):
        prepare(body=bytes(1001))
    with pytest.raises(EncodeError):
        prepare(body=object())


def test_a_large_body_may_fit_when_compressed():
    """What counts is what is sent."""
    message = prepare(body=bytes(100_000), compression="gzip")
    assert message.content_encoding == "gzip"
    assert len(message.body) < 1000


def test_an_unknown_connection_user_leaves_the_check_to_the_broker():
    """Before the first connection."""
    assert prepare(user_id="somebody").user_id == "somebody"


def test_the_id_is_a_new_uuid_of_version_7_by_default():
    """Unless one is given."""
    message = prepare_message("", "q", b"", max_message_size=1)
    assert message.message_id[14] == "7"
    assert message.message_id != prepare_message("", "q", b"", max_message_size=1).message_id


_short = st.none() | st.text(max_size=300) | st.text(st.characters(), max_size=5)
_headers = st.none() | st.dictionaries(
    st.text(max_size=8), st.none() | st.integers() | st.text(max_size=8) | st.floats() | st.decimals() | st.datetimes()
)


@given(
    st.text(max_size=300),
    st.text(max_size=300),
    st.fixed_dictionaries(
        {},
        optional={
            "message_id": _short,
            "correlation_id": _short,
            "reply_to": _short,
            "type": _short,
            "user_id": _short,
            "app_id": _short,
            "content_type": _short,
            "content_encoding": _short,
            "headers": _headers,
            "priority": st.none() | st.integers(-2, 260),
            "expiration": st.none() | st.floats() | st.integers() | st.timedeltas() | st.text(max_size=5),
            "timestamp": st.none() | st.integers() | st.datetimes(timezones=st.none() | st.just(UTC)),
        },
    ),
)
def test_any_message_is_written_by_pika_or_refused_with_its_field(exchange, routing_key, options):
    """There is no third way: nothing reaches the wire that AMQP cannot hold."""
    try:
        message = prepare(exchange, routing_key, **options)
    except MessageError as error:
        assert error.field  # noqa: PT017 - refusing is right too
    else:
        assert encoded(message)
