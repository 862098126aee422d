"""The copy that is parked: same body, same properties, and nothing that would hurt it."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from rmqpool import Delivery
from rmqpool.amqp.wire import encode_properties
from rmqpool.worker.failure import Failure
from rmqpool.worker.parked import parked_message, worker_identity

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
FAILURE = Failure("exception", "ValueError", "a wrong price", "Traceback ...\nValueError: a wrong price\n")


def park(delivery: Delivery, failure: Failure = FAILURE, frame_max: int = 131072):
    """The parked message."""
    return parked_message(
        delivery, failure, "orders.dead", worker="host:1:orders", user="app", frame_max=frame_max, now=NOW
    )


def delivered(body: bytes = b"\x00raw\xff", **properties) -> Delivery:
    """As it came from queue orders, by exchange shop with routing key order.created."""
    return Delivery(body, "shop", "order.created", 7, False, "orders", **properties)


def test_body_and_properties_are_kept():
    """Byte for byte."""
    delivery = delivered(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"tenant": "acme", "nested": {"a": [1, b"x", None]}},
        priority=3,
        correlation_id="c",
        reply_to="r",
        message_id="m-1",
        timestamp=1_700_000_000,
        type="order",
        app_id="shop",
        user_id="app",
    )
    message = park(delivery)
    for name in ("body", "content_type", "content_encoding", "priority", "correlation_id", "reply_to", "message_id"):
        assert getattr(message, name) == getattr(delivery, name)
    assert (message.timestamp, message.type, message.app_id, message.user_id) == (1_700_000_000, "order", "shop", "app")
    assert message.headers is not None
    assert message.headers["tenant"] == "acme"
    assert message.headers["nested"] == {"a": [1, b"x", None]}


def test_it_goes_to_the_parking_queue_mandatory_and_persistent():
    """A message that no queue takes is not parked."""
    message = park(delivered(delivery_mode=1))
    assert (message.exchange, message.routing_key, message.mandatory, message.delivery_mode) == (
        "",
        "orders.dead",
        True,
        2,
    )


def test_headers_say_why_where_from_when_and_by_whom():
    """All of them, with the settled names."""
    assert park(delivered()).headers == {
        "x-rmqpool-reason": "exception",
        "x-rmqpool-exception-type": "ValueError",
        "x-rmqpool-exception-message": "a wrong price",
        "x-rmqpool-exception-traceback": FAILURE.traceback,
        "x-rmqpool-original-exchange": "shop",
        "x-rmqpool-original-routing-key": "order.created",
        "x-rmqpool-original-queue": "orders",
        "x-rmqpool-worker": "host:1:orders",
        "x-rmqpool-parked-at": "2026-01-02T03:04:05.678+00:00",
        "x-rmqpool-first-failure-at": "2026-01-02T03:04:05.678+00:00",
        "x-rmqpool-attempt": 1,
    }


def test_the_default_exchange_is_named_by_an_empty_text():
    """A replay needs to know that it was there."""
    headers = park(Delivery(b"", "", "orders", 1, False, "orders")).headers
    assert headers is not None
    assert headers["x-rmqpool-original-exchange"] == ""


def test_what_an_earlier_attempt_wrote_stays():
    """The first failure, and where the message was first published to."""
    first = {"x-rmqpool-first-failure-at": "2025-12-31T00:00:00+00:00", "x-rmqpool-original-exchange": "first"}
    headers = park(delivered(headers={**first, "x-rmqpool-attempt": 4, "x-rmqpool-reason": "old"})).headers
    assert headers is not None
    assert first.items() <= headers.items()
    assert headers["x-rmqpool-attempt"] == 4
    assert headers["x-rmqpool-reason"] == "exception"


def test_an_expiration_does_not_apply_to_the_parked_message():
    """It is kept in a header."""
    message = park(delivered(expiration="60000"))
    assert message.expiration is None
    assert message.headers is not None
    assert message.headers["x-rmqpool-original-expiration"] == "60000"


def test_the_brokers_history_is_not_copied():
    """Old brokers drop a message as a cycle."""
    headers = park(delivered(headers={"x-death": [{}], "x-first-death-queue": "q", "x-delivery-count": 3})).headers
    assert headers is not None
    assert not [name for name in headers if "death" in name or "delivery-count" in name]


def test_a_foreign_user_id_is_kept_in_a_header():
    """As a property the broker would refuse it (406)."""
    message = park(delivered(user_id="somebody"))
    assert message.user_id is None
    assert message.headers is not None
    assert message.headers["x-rmqpool-original-user-id"] == "somebody"


def test_cc_does_not_send_it_again():
    """The broker would route the parked copy to those queues too."""
    headers = park(delivered(headers={"CC": ["audit"]})).headers
    assert headers is not None
    assert "CC" not in headers
    assert headers["x-rmqpool-original-cc"] == ["audit"]


def test_a_message_without_an_id_gets_one():
    """Otherwise nobody could tell which message the broker returned."""
    assert len(park(delivered()).message_id) == 36


def test_foreign_bytes_become_text():
    """pika hands over bytes where another client wrote no UTF-8; values that it cannot write become text."""
    delivery = delivered(headers={"rate": 2**70, b"\xff": 1})  # type: ignore[dict-item]
    delivery.message_id = b"\xfe\xff"  # type: ignore[assignment]
    message = park(delivery)
    assert message.message_id == "þÿ"
    assert message.headers is not None
    assert message.headers["rate"] == str(2**70)
    assert message.headers["ÿ"] == 1
    encode_properties(message, 131072)


@given(
    st.text(st.characters(codec=None), max_size=3000),
    st.text(st.characters(codec=None), max_size=5000),
    st.integers(0, 3000),
    st.sampled_from([4096, 8192, 131072]),
)
def test_it_always_fits_into_a_frame_and_keeps_its_reason(text, trace, own, frame_max):
    """Whatever the exception says, and however much room the message's own headers leave."""
    failure = Failure("exception", text, text, trace * 10)
    message = park(delivered(headers={"own": "x" * own}, expiration="1"), failure, frame_max)
    assert len(encode_properties(message, frame_max)) < frame_max
    assert message.headers is not None
    assert message.headers["x-rmqpool-reason"] == "exception"
    assert message.headers["x-rmqpool-original-queue"] == "orders"


def test_the_worker_says_who_it_is():
    """host:process id:name."""
    assert worker_identity("orders").split(":")[2] == "orders"
