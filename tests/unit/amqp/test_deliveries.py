"""A delivery reads the same whether pika decoded it at once, or it decodes itself when somebody looks."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import spec

from rmqpool import DecodeError, Delivery
from rmqpool.amqp import wire
from rmqpool.amqp.deliveries import (
    Origin,
    ReceivedDelivery,
    delivery_from,
    forget_unreadable,
    has_priority,
    has_reply_to,
    is_surely_plain,
    receive,
)

ORIGIN = Origin("orders", 3, 17)
NAMES = [field.name for field in dataclasses.fields(Delivery)]
HEADERS_CUT_SHORT = b"\x20\x00" + b"\x00\x00\x00\xff" + b"\x01aS"  # the table claims 255 bytes

texts = st.text(max_size=40)
headers = st.dictionaries(
    st.text(max_size=10), st.one_of(texts, st.integers(-(2**31), 2**62), st.booleans()), max_size=4
)
properties = st.builds(
    pika.BasicProperties,
    content_type=st.none() | texts,
    content_encoding=st.none() | texts,
    headers=st.none() | headers,
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | texts,
    reply_to=st.none() | texts,
    expiration=st.none() | texts,
    message_id=st.none() | texts,
    timestamp=st.none() | st.integers(0, 2**63),
    type=st.none() | texts,
    user_id=st.none() | texts,
    app_id=st.none() | texts,
)
methods = st.builds(
    spec.Basic.Deliver,
    consumer_tag=texts,
    delivery_tag=st.integers(1, 2**63),
    redelivered=st.booleans(),
    exchange=texts,
    routing_key=texts,
)


def content(method: Any, encoded: bytes, body: bytes = b"body") -> wire.Content:
    """What the frame reader makes of a basic.deliver."""
    return (wire.DELIVER, b"".join(method.encode()), encoded, body)


def received(encoded: bytes, body: bytes = b"body") -> Delivery:
    """A delivery with these encoded properties."""
    method = spec.Basic.Deliver("ctag", 5, True, "shop", "orders.new")
    (delivery,) = receive([content(method, encoded, body)], ORIGIN, None)
    return delivery


def encoded(**values: Any) -> bytes:
    """Properties as they travel."""
    return b"".join(pika.BasicProperties(**values).encode())


@given(method=methods, given_properties=properties, order=st.permutations(NAMES))
def test_both_paths_give_the_same_delivery(method: Any, given_properties: Any, order: list[str]) -> None:
    """Every attribute, in whatever order they are read; pika's codec is the judge."""
    travelled = b"".join(given_properties.encode())
    decoded = pika.BasicProperties().decode(travelled)
    eager = delivery_from(method, decoded, b"body", queue="orders", epoch=3, channel_serial=17, settler=None)
    (lazy,) = receive([content(method, travelled)], ORIGIN, None)
    for name in order:
        assert getattr(lazy, name) == getattr(eager, name), name
    assert (lazy.attempt, lazy.delivery_count, repr(lazy)) == (eager.attempt, eager.delivery_count, repr(eager))
    assert has_priority(lazy) == has_priority(eager) == bool(given_properties.priority)
    assert has_reply_to(lazy) == has_reply_to(eager) == bool(given_properties.reply_to)
    assert not is_surely_plain(eager)
    if is_surely_plain(lazy):
        assert (lazy.content_encoding, lazy.headers) == (None, {})


def test_every_delivery_of_a_read_knows_when_it_came() -> None:
    """The time is noted once for all of them."""
    content_ = content(spec.Basic.Deliver("ctag", 5, True, "shop", "orders.new"), encoded())
    read = receive([content_, content_], ORIGIN._replace(received_at=12.5), None)
    assert [(one.received_at, one.queue, one.begun) for one in read] == [(12.5, "orders", False)] * 2


def test_a_second_word_of_flags_is_decoded_as_pika_does() -> None:
    """Nobody sends one; the lowest bit of the first announces it."""
    travelled = b"\x80\x01\x00\x00" + b"\x04text"
    assert received(travelled).content_type == "text"
    assert received(travelled).message_id is None


def test_nothing_is_decoded_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no flag needs no decoding, and the rest is decoded once."""
    calls: list[bytes] = []
    decode = wire.decode_properties
    monkeypatch.setattr(wire, "decode_properties", lambda value: calls.append(value) or decode(value))
    delivery = received(encoded(message_id="m", content_type="t"))
    assert (delivery.body, delivery.delivery_tag, delivery.redelivered, delivery.settled) == (b"body", 5, True, "")
    assert (delivery.headers, delivery.priority, delivery.queue, delivery.routing_key) == (
        {},
        None,
        "orders",
        "orders.new",
    )
    assert calls == []
    assert (delivery.message_id, delivery.content_type, delivery.message_id) == ("m", "t", "m")
    assert len(calls) == 1


def test_it_is_a_delivery_and_can_be_copied() -> None:
    """Also by pickle, as users' own process pools do."""
    delivery = received(encoded(message_id="m", headers={"a": 1}))
    assert isinstance(delivery, Delivery)
    for twin in (copy.copy(delivery), pickle.loads(pickle.dumps(delivery))):
        assert [getattr(twin, name) for name in NAMES] == [getattr(delivery, name) for name in NAMES]
    with pytest.raises(AttributeError, match="has no attribute 'bodi'"):
        delivery.bodi  # type: ignore[attr-defined]  # noqa: B018


def test_threads_that_read_at_once_see_the_same() -> None:
    """There is no half-decoded moment."""
    for _ in range(50):
        delivery = received(encoded(message_id="m", app_id="a", headers={"a": "b"}))
        barrier, seen = threading.Barrier(4), list[Any]()

        def read(delivery: Delivery = delivery, barrier: threading.Barrier = barrier, seen: list[Any] = seen) -> None:
            barrier.wait(5)
            seen.append((delivery.message_id, delivery.headers, delivery.app_id, delivery.routing_key))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert seen == [("m", {"a": "b"}, "a", "orders.new")] * 4


def test_unreadable_properties_are_an_error_of_ours_when_they_are_read() -> None:
    """Each time, with what to look for; the body is there, and repr() works."""
    delivery = received(HEADERS_CUT_SHORT)
    for _ in range(2):
        with pytest.raises(DecodeError, match="delivery 5 of queue 'orders' cannot be read") as caught:
            delivery.headers  # noqa: B018
        assert caught.value.reason == "properties"
    assert (delivery.body, delivery.message_id) == (b"body", None)
    assert repr(delivery) == "<Delivery with unreadable properties from orders, tag 5, unsettled>"
    assert not has_priority(received(b"\x28\x00" + HEADERS_CUT_SHORT[2:]))


def test_unreadable_names_are_an_error_too() -> None:
    """The exchange claims to be longer than the frame."""
    arguments = b"\x04ctag" + (5).to_bytes(8, "big") + b"\x00" + b"\x02\xff\xfe"
    (delivery,) = receive([(wire.DELIVER, arguments, encoded(), b"")], ORIGIN, None)
    assert delivery.delivery_tag == 5
    with pytest.raises(DecodeError, match="exchange and routing key"):
        delivery.routing_key  # noqa: B018


def test_what_is_unreadable_can_be_forgotten() -> None:
    """Then everything reads, absent where it could not be decoded; what could be decoded stays."""
    broken, whole = received(HEADERS_CUT_SHORT), received(encoded(message_id="m"))
    plain = Delivery(b"", "", "orders", 1, False, message_id="p")
    for delivery in (broken, whole, plain):
        forget_unreadable(delivery)
    assert (broken.headers, broken.message_id, broken.attempt, broken.routing_key) == ({}, None, 2, "orders.new")
    assert (whole.message_id, plain.message_id) == ("m", "p")


def test_only_deliveries_are_received() -> None:
    """A basic.return on a consuming channel has no tag: it must not be taken for one."""
    with pytest.raises(ValueError, match=r"no basic\.deliver"):
        receive([(wire.RETURN, b"\x00" * 20, encoded(), b"")], ORIGIN, None)


def test_integers_of_headers_are_plain_ones() -> None:
    """Pika's own show themselves as 1L."""
    delivery = received(encoded(headers={"count": 2**40, "nested": {"list": [2**40]}}))
    assert repr(dict(delivery.headers)) == "{'count': 1099511627776, 'nested': {'list': [1099511627776]}}"
    assert type(delivery) is ReceivedDelivery


def test_what_was_changed_stays_when_another_property_is_read() -> None:
    """Decoding fills what nobody has looked at, and nothing else."""
    delivery = received(encoded(content_type="text/plain", headers={"a": 1}, message_id="id-1"))
    delivery.headers["mine"] = 1  # type: ignore[index]
    delivery.content_type = "application/json"
    assert delivery.message_id == "id-1"
    assert delivery.headers == {"a": 1, "mine": 1}
    assert delivery.content_type == "application/json"


def test_headers_of_a_message_without_any_stay_what_they_were_made() -> None:
    """An empty dict that somebody fills is not replaced by another one."""
    delivery = received(encoded(message_id="id-1"))
    delivery.headers["mine"] = 1  # type: ignore[index]
    assert delivery.message_id == "id-1"
    assert delivery.headers == {"mine": 1}
