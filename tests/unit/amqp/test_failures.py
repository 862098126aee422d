"""What users read when something fails: the cause, what it concerns, the next step, and never the password."""

import socket
import ssl

import pytest
from pika import exceptions as pika_exceptions

from rmqpool.amqp.failures import (
    REFUSALS,
    channel_closed,
    connection_failed,
    connection_lost,
    dns_failed,
    stage_timed_out,
)
from rmqpool.errors import (
    AccessRefusedError,
    AuthenticationError,
    ChannelClosedError,
    ConnectionFailedError,
    ConnectionLostError,
    NotFoundError,
    PreconditionFailedError,
    ResourceLockedError,
    TLSError,
    VirtualHostAccessError,
    VirtualHostNotFoundError,
)
from rmqpool.settings import ConnectionSettings, Secret

SETTINGS = ConnectionSettings(user="alice", password=Secret("pa55word"), vhost="shop")


def refused(code: int, text: str) -> ConnectionFailedError:
    return connection_failed(None, "amqp", "mq", 5672, SETTINGS, (code, text))


@pytest.mark.parametrize(
    ("code", "text", "kind", "words"),
    [
        (403, "ACCESS_REFUSED - Login was refused", AuthenticationError, "wrong user name or password"),
        (530, "NOT_ALLOWED - vhost shop not found", VirtualHostNotFoundError, "rabbitmqctl add_vhost"),
        (
            530,
            "NOT_ALLOWED - access to vhost 'shop' refused for user 'alice'",
            VirtualHostAccessError,
            "set_permissions",
        ),
        (530, "NOT_ALLOWED - vhost 'shop' is down", ConnectionFailedError, "530"),
        (530, "NOT_ALLOWED - connection limit (5) is reached", ConnectionFailedError, "limit"),
        (541, "INTERNAL_ERROR", ConnectionFailedError, "541 INTERNAL_ERROR"),
    ],
)
def test_the_brokers_refusal_names_its_cause(
    code: int, text: str, kind: type[ConnectionFailedError], words: str
) -> None:
    """Each has its class, the address, and what to do."""
    error = refused(code, text)
    assert type(error) is kind
    assert words in str(error)
    assert "mq:5672" in str(error)
    assert (error.host, error.port, error.stage) == ("mq", 5672, "amqp")
    assert "pa55word" not in str(error)


def test_only_what_somebody_must_change_is_a_refusal() -> None:
    """A limit or a vhost that is down may pass by itself: those are tried again soon."""
    assert isinstance(refused(403, "x"), REFUSALS)
    assert isinstance(refused(530, "vhost shop not found"), REFUSALS)
    assert not isinstance(refused(530, "connection limit (5) is reached"), REFUSALS)
    assert not isinstance(refused(530, "vhost 'shop' is down"), REFUSALS)


@pytest.mark.parametrize("stage", ["dns", "tcp", "tls", "amqp"])
def test_each_stage_says_how_long_it_waited_and_what_to_check(stage: str) -> None:
    """And carries the stage's name."""
    error = stage_timed_out(stage, 2.5, "mq", 5672)
    assert "2.5 s" in str(error)
    assert error.stage == stage
    assert "mq" in str(error)


def test_a_broker_that_hangs_up_on_a_small_frame_max_is_asked_about_it() -> None:
    """RabbitMQ 4.1 takes no less than 8192, and says so in its own log only."""
    reset = ConnectionResetError(104, "Connection reset by peer")
    small = ConnectionSettings(frame_max=4096)
    assert "frame_max=4096 too small" in str(connection_failed(reset, "amqp", "mq", 5672, small))
    assert "frame_max" not in str(connection_failed(reset, "amqp", "mq", 5672, SETTINGS))


def test_a_closed_port_asks_whether_the_broker_runs() -> None:
    """The most frequent failure of all."""
    error = connection_failed(ConnectionRefusedError(111, "Connection refused"), "tcp", "mq", 5672, SETTINGS)
    assert "Connection refused" in str(error)
    assert "is RabbitMQ running?" in str(error)


def test_an_unknown_host_name_is_quoted() -> None:
    """So that a typing error is seen."""
    error = dns_failed(socket.gaierror(-2, "Name or service not known"), "rabit", 5672)
    assert "'rabit'" in str(error)
    assert error.stage == "dns"


def test_a_peer_that_ends_the_handshake_makes_us_ask_for_its_kind() -> None:
    """Wrong port, or TLS on one side only."""
    error = connection_failed(pika_exceptions.StreamLostError("reset"), "amqp", "mq", 5672, SETTINGS)
    assert "amqps://" in str(error)


def test_a_refused_certificate_is_a_tls_error() -> None:
    """With OpenSSL's reason."""
    problem = ssl.SSLCertVerificationError("certificate verify failed")
    problem.verify_code, problem.verify_message = 18, "self-signed certificate"
    error = connection_failed(problem, "tls", "mq", 5671, SETTINGS)
    assert isinstance(error, TLSError)
    assert "self-signed certificate" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (403, AccessRefusedError),
        (404, NotFoundError),
        (405, ResourceLockedError),
        (406, PreconditionFailedError),
        (504, ChannelClosedError),
    ],
)
def test_a_closed_channel_has_the_class_of_its_code(code: int, kind: type[ChannelClosedError]) -> None:
    """With the call during which it happened, and the broker's words."""
    error = channel_closed(code, "the broker's words", "queue_declare('q')")
    assert type(error) is kind
    assert (error.code, error.text) == (code, "the broker's words")
    assert str(error).startswith("queue_declare('q')")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (pika_exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), "320 CONNECTION_FORCED"),
        (pika_exceptions.ConnectionClosedByClient(200, "OK"), "closed on our side"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (None, "no reason given"),
    ],
)
def test_a_lost_connection_says_why(reason: BaseException | None, words: str) -> None:
    """And which one it was."""
    error = connection_lost(reason, "app:publish-1")
    assert words in str(error)
    assert "app:publish-1" in str(error)


def test_our_own_reason_is_kept_as_it_is() -> None:
    """The watchdog's sentence is not wrapped a second time."""
    own = ConnectionLostError("silent for 20 s")
    assert connection_lost(own, "x") is own
