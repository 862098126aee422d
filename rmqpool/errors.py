"""One tree of errors. Each message says what happened, to what, and what to do next; none ever carries a secret.

RmqpoolError
├── ConfigurationError                    a URL, a setting, a topology value or a handler is wrong (also a ValueError)
├── ConnectionFailedError                 a connection could not be opened: host, port, stage
│   ├── AuthenticationError               wrong user or password
│   ├── VirtualHostNotFoundError          the virtual host does not exist
│   ├── VirtualHostAccessError            the user may not enter the virtual host
│   └── TLSError                          certificate or TLS handshake refused
├── ConnectionLostError                   an open connection died under a call
├── ChannelClosedError                    the broker closed a channel: code and text
│   ├── AccessRefusedError                403
│   ├── NotFoundError                     404
│   ├── ResourceLockedError               405
│   └── PreconditionFailedError           406
│       └── TopologyMismatchError         declared with other arguments than those that are there
├── CallTimeoutError                      no answer within the time (also a TimeoutError)
├── PoolError
│   ├── PoolTimeoutError                  nothing free within the time, with the numbers (also a TimeoutError)
│   ├── PoolClosedError                   the pool is closed
│   ├── TooManyWaitingError               max_waiting callers wait already
│   ├── ChannelLimitError                 a connection has as many channels as channel_max allows
│   └── LeaseReleasedError                a leased channel was used after its release
├── CircuitOpenError                      a circuit breaker is open: nothing was called; when to ask again
├── MessageError                          refused before anything was written: the field is named (also a ValueError)
│   ├── EncodeError                       the body cannot be turned into bytes
│   └── MessageTooLargeError              body or headers larger than the broker takes
├── MigrationError                        a queue cannot be moved to another type, or not now: nothing is lost
├── WorkerError                           what a worker says of its handlers
│   ├── ChildStartError                   a child process for a handler could not be started
│   └── TimeLimitExceededError            a handler took longer than its time_limit (also a TimeoutError)
├── DecodeError                           a received body cannot be turned into what the handler asks for
├── ReplyError                            a call whose request was written ended without a result: its queue is named
│   ├── ReplyTimeoutError                 no reply within the call's time (also a TimeoutError)
│   ├── ReplyLostError                    the connection on which the reply would have come was lost
│   └── RemoteError                       the handler failed: its reason, exception type and message
├── OutboxError                           the outbox in Postgres
│   ├── CommitUnknownError                the answer to a COMMIT was lost: committed or not
│   ├── InboxUnavailableError             the database of an inbox cannot be reached now
│   ├── NotInTransactionError             written outside a transaction, or in one that failed already
│   ├── OutboxSchemaError                 tables that are not there, of another version, or not allowed
│   └── UnsupportedConnectionError        no connection that the outbox knows (also a TypeError)
└── PublishError                          a publish that was not confirmed: one class for each outcome
    ├── UnroutableError                   returned: no queue took it
    ├── NackedError                       the broker refused it
    │   ├── PublishAccessRefusedError     403
    │   ├── ExchangeNotFoundError         404
    │   └── PublishPreconditionError      406
    ├── NotSentError                      nothing was written
    │   └── PublishHeldBackError          not sent while the circuit breaker is open (also a CircuitOpenError)
    └── UnknownOutcomeError               written, and no confirm by the deadline
"""

from __future__ import annotations

from typing import ClassVar, TypedDict, Unpack

__all__ = [
    "AccessRefusedError",
    "AuthenticationError",
    "CallTimeoutError",
    "ChannelClosedError",
    "ChannelLimitError",
    "ChildStartError",
    "CircuitOpenError",
    "CommitUnknownError",
    "ConfigurationError",
    "ConnectionFailedError",
    "ConnectionLostError",
    "DecodeError",
    "EncodeError",
    "ExchangeNotFoundError",
    "InboxUnavailableError",
    "LeaseReleasedError",
    "MessageError",
    "MessageTooLargeError",
    "MigrationError",
    "NackedError",
    "NotFoundError",
    "NotInTransactionError",
    "NotSentError",
    "OutboxError",
    "OutboxSchemaError",
    "PoolClosedError",
    "PoolError",
    "PoolTimeoutError",
    "PreconditionFailedError",
    "PublishAccessRefusedError",
    "PublishError",
    "PublishHeldBackError",
    "PublishPreconditionError",
    "RemoteError",
    "ReplyError",
    "ReplyLostError",
    "ReplyTimeoutError",
    "ResourceLockedError",
    "RmqpoolError",
    "TLSError",
    "TimeLimitExceededError",
    "TooManyWaitingError",
    "TopologyMismatchError",
    "UnknownOutcomeError",
    "UnroutableError",
    "UnsupportedConnectionError",
    "VirtualHostAccessError",
    "VirtualHostNotFoundError",
    "WorkerError",
]


class RmqpoolError(Exception):
    """The root of all errors that rmqpool raises on purpose."""


class ConfigurationError(RmqpoolError, ValueError):
    """A URL, a setting, a topology value, a module path or a handler is wrong. Nothing was sent."""


class ConnectionFailedError(RmqpoolError):
    """A connection to the broker, or to the outbox' Postgres, could not be opened.

    ``stage`` is one of ``dns``, ``tcp``, ``tls``, ``amqp``, for Postgres also ``password``, ``database``, ``rights``;
    ``host`` and ``port`` name the address that was tried.
    """

    def __init__(self, message: str, *, host: str = "", port: int = 0, stage: str = "") -> None:
        super().__init__(message)
        self.host, self.port, self.stage = host, port, stage


class AuthenticationError(ConnectionFailedError):
    """The broker refused the user name or the password (reply code 403 during the handshake)."""


class VirtualHostNotFoundError(ConnectionFailedError):
    """The virtual host of the URL does not exist on the broker."""


class VirtualHostAccessError(ConnectionFailedError):
    """The user exists, but has no permission for the virtual host."""


class TLSError(ConnectionFailedError):
    """The TLS handshake failed: unknown authority, expired certificate, wrong host name, client certificate missing."""


class ConnectionLostError(RmqpoolError):
    """An open connection died, or was closed by the broker, while a call or a lease was using it."""


class ChannelClosedError(RmqpoolError):
    """The broker closed the channel (AMQP 0-9-1, channel.close). ``code`` is the reply code, ``text`` the broker's words."""

    def __init__(self, message: str, *, code: int = 0, text: str = "") -> None:
        super().__init__(message)
        self.code, self.text = code, text


class AccessRefusedError(ChannelClosedError):
    """403: the user has no permission for that queue or exchange."""


class NotFoundError(ChannelClosedError):
    """404: the queue or the exchange does not exist."""


class ResourceLockedError(ChannelClosedError):
    """405: the queue belongs exclusively to another connection."""


class PreconditionFailedError(ChannelClosedError):
    """406: arguments that differ, a double acknowledgement, a value that the broker does not take."""


class TopologyMismatchError(PreconditionFailedError):
    """A queue or exchange exists with other arguments than those declared. ``differences`` names each; nothing was changed.

    ``differences`` maps an argument's name to a pair: what was declared, what is there (as the broker words it).
    """

    def __init__(
        self, message: str, *, code: int = 406, text: str = "", differences: dict[str, tuple[str, str]] | None = None
    ) -> None:
        super().__init__(message, code=code, text=text)
        self.differences = dict(differences or {})


class CallTimeoutError(RmqpoolError, TimeoutError):
    """The broker, or the I/O thread, gave no answer within the call's time."""


class PoolError(RmqpoolError):
    """The root of what a pool says of itself."""


class PoolTimeoutError(PoolError, TimeoutError):
    """Nothing became free, or no connection became ready, within the time. The message has the numbers."""


class PoolClosedError(PoolError):
    """The pool, publisher or connection is closed, or is being closed."""


class TooManyWaitingError(PoolError):
    """As many callers as ``max_waiting`` allows wait already: refused at once instead of queueing up."""


class ChannelLimitError(PoolError):
    """A connection has as many channels open as ``channel_max`` allows, and one more was asked for. It lives on."""


class LeaseReleasedError(PoolError):
    """A leased channel was used after it went back to its pool."""


class CircuitOpenError(RmqpoolError):
    """Not called, for a circuit breaker is open: what it guards failed too often. Nothing was done.

    ``name`` is what the breaker guards; asking again makes sense after ``retry_after`` seconds.
    """

    def __init__(self, message: str, *, name: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.name, self.retry_after = name, retry_after


class MessageError(RmqpoolError, ValueError):
    """A message that cannot be sent. Refused before anything was written; ``field`` names what is wrong."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class EncodeError(MessageError):
    """The body cannot be turned into bytes by the codec of its content type."""


class MessageTooLargeError(MessageError):
    """The body is larger than the broker takes, or the headers do not fit into one frame."""


class MigrationError(RmqpoolError):
    """A queue cannot be moved to another type, or not now. Nothing is lost: the message says what to do, then run it again."""


class DecodeError(RmqpoolError):
    """A received body cannot be turned into what the handler asks for. ``reason`` is a short, stable word for headers.

    Reasons: ``content-type``, ``charset``, ``content-encoding``, ``too-large``, ``corrupt``, ``validation``, ``properties``.
    """

    def __init__(self, message: str, *, reason: str = "corrupt") -> None:
        super().__init__(message)
        self.reason = reason


class ReplyError(RmqpoolError):
    """A call ended without a result although its request was written. ``queue`` and ``message_id`` name the request."""

    def __init__(self, message: str, *, queue: str = "", message_id: str = "") -> None:
        super().__init__(message)
        self.queue, self.message_id = queue, message_id


class ReplyTimeoutError(ReplyError, TimeoutError):
    """No reply came within the call's time. The request may have been handled, or be handled later."""


class ReplyLostError(ReplyError):
    """The connection was lost while the reply was awaited. The request may have been handled, or be handled later."""


class RemoteError(ReplyError):
    """The message was not handled well, and will not be tried again. ``reason`` is a short word, as for parked messages
    (``exception``, ``rejected:…``, ``decode:…``); ``type`` and ``message`` are those of the handler's exception."""

    def __init__(
        self, text: str, *, reason: str = "", type: str = "", message: str = "", queue: str = "", message_id: str = ""
    ) -> None:
        super().__init__(text, queue=queue, message_id=message_id)
        self.reason, self.type, self.message = reason, type, message


class WorkerError(RmqpoolError):
    """The root of what a worker says of its handlers."""


class ChildStartError(WorkerError):
    """A child process for a handler could not be started, or ended before it was ready. The worker stops."""


class TimeLimitExceededError(WorkerError, TimeoutError):
    """Raised inside a handler that took longer than its ``time_limit``. Its message fails with reason ``time-limit``."""


class OutboxError(RmqpoolError):
    """The root of what the outbox says of itself."""


class CommitUnknownError(OutboxError):
    """The connection was lost while a COMMIT was under way: the transaction was committed, or it was not.

    Look for its effects before doing it again; an inbox, or a key of the application's own, makes that unnecessary.
    """


class InboxUnavailableError(OutboxError):
    """The database in which an inbox keeps what was handled cannot be reached, or took too long. Nothing was done."""


class NotInTransactionError(OutboxError):
    """A message was to be written outside a transaction, or in one that failed already. Nothing was written."""


class OutboxSchemaError(OutboxError):
    """The outbox' tables are not there, of another version, or the role has no right to them. Nothing was written."""


class UnsupportedConnectionError(OutboxError, TypeError):
    """The object given is no connection, session or pool that the outbox knows. Nothing was written."""


class _About(TypedDict, total=False):
    """Which message it was: see PublishError."""

    message_id: str
    exchange: str
    routing_key: str
    attempts: int


class PublishError(RmqpoolError):
    """A publish that ended without a confirmation. ``message_id``, ``exchange`` and ``routing_key`` name the message;
    ``attempts`` counts how often it was written to a connection."""

    outcome: ClassVar[str] = ""

    def __init__(
        self, message: str, *, message_id: str = "", exchange: str = "", routing_key: str = "", attempts: int = 0
    ) -> None:
        super().__init__(message)
        self.message_id, self.exchange, self.routing_key = message_id, exchange, routing_key
        self.attempts = attempts


class UnroutableError(PublishError):
    """Returned by the broker: no queue is bound for it (basic.return). It is stored nowhere."""

    outcome = "returned"

    def __init__(
        self, message: str, *, reply_code: int = 312, reply_text: str = "NO_ROUTE", **about: Unpack[_About]
    ) -> None:
        super().__init__(message, **about)
        self.reply_code, self.reply_text = reply_code, reply_text


class NackedError(PublishError):
    """The broker refused the message: basic.nack (a full queue with reject-publish, an internal error), or one of the
    subclasses. ``code`` and ``text`` are the broker's, 0 and empty for a plain nack."""

    outcome = "nacked"

    def __init__(self, message: str, *, code: int = 0, text: str = "", **about: Unpack[_About]) -> None:
        super().__init__(message, **about)
        self.code, self.text = code, text


class PublishAccessRefusedError(NackedError):
    """403: the user may not write to that exchange."""


class ExchangeNotFoundError(NackedError):
    """404: the exchange does not exist."""


class PublishPreconditionError(NackedError):
    """406: the broker does not take this message (too large, a property that it refuses)."""


class NotSentError(PublishError):
    """Nothing of the message was written to any connection: it is stored nowhere, and sending it again is safe."""

    outcome = "not_sent"


class PublishHeldBackError(NotSentError, CircuitOpenError):
    """Refused at once, as no connection is open and the pool's circuit breaker is. Nothing was written, or will be."""

    def __init__(self, message: str, *, name: str = "", retry_after: float = 0.0, **about: Unpack[_About]) -> None:
        super().__init__(message, **about)
        self.name, self.retry_after = name, retry_after


class UnknownOutcomeError(PublishError):
    """Written, and no confirm by the deadline: the broker may or may not have it. Resend only with the same message_id."""

    outcome = "unknown"
