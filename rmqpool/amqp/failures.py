"""From what pika, the socket and TLS say to our error tree: each sentence names the cause and the next step."""

from __future__ import annotations

import copy
import socket
import ssl
from typing import TypeVar

from pika import exceptions as pika_exceptions

from rmqpool.errors import (
    AccessRefusedError,
    AuthenticationError,
    ChannelClosedError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    NotFoundError,
    PreconditionFailedError,
    ResourceLockedError,
    TLSError,
    VirtualHostAccessError,
    VirtualHostNotFoundError,
)
from rmqpool.settings import ConnectionSettings

__all__ = [
    "REFUSALS",
    "channel_closed",
    "close_reason",
    "connection_failed",
    "connection_lost",
    "dns_failed",
    "own_copy",
    "replaced",
    "silent",
    "speaks_tls",
    "stage_timed_out",
]

E = TypeVar("E", bound=Exception)

# Trying these again soon cannot help: somebody has to change something first.
REFUSALS = (AuthenticationError, VirtualHostNotFoundError, VirtualHostAccessError, TLSError)

# The peer went away in the middle, without a word: it may be restarting, so these are tried again soon.
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)

_CERTIFICATE_STEPS = {  # OpenSSL's X509_V_ERR codes (x509_vfy.h)
    9: "it is not valid yet: compare the clocks",
    10: "renew the certificate",
    62: "connect to a name that it is for, or say which one it is for (server_hostname)",
    64: "connect to an address that it is for, or say which name it is for (server_hostname)",
}

# The broker's alerts (RFC 8446, 6.2) that are about our own certificate, as OpenSSL words them.
_CLIENT_CERTIFICATE_ALERTS = (
    "ALERT_CERTIFICATE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_UNKNOWN_CA",
    "ALERT_HANDSHAKE_FAILURE",
)

_SMALLEST_FRAME = 8192  # bytes: what RabbitMQ takes since 4.1 (https://www.rabbitmq.com/release-information)

_CHANNEL_ERRORS: dict[int, type[ChannelClosedError]] = {
    403: AccessRefusedError,
    404: NotFoundError,
    405: ResourceLockedError,
    406: PreconditionFailedError,
}
_NEXT_STEP = {
    403: "give the user permission for it (rabbitmqctl set_permissions)",
    404: "declare it first, or correct its name",
    405: "it belongs exclusively to another connection: close that one, or use another name",
    406: "compare the arguments with those on the broker",
}


def stage_timed_out(stage: str, seconds: float, host: str, port: int) -> ConnectionFailedError:
    """A stage of connecting took longer than its own timeout."""
    what = {
        "dns": f"looking up {host} took longer than {seconds:g} s: check the name server",
        "tcp": f"no TCP connection to {host}:{port} within {seconds:g} s: check host, port and firewall",
        "tls": f"no TLS handshake with {host}:{port} within {seconds:g} s: is it a TLS port (amqps is 5671)?",
        "amqp": f"{host}:{port} accepted TCP but did not finish the AMQP handshake within {seconds:g} s: "
        "is it a RabbitMQ port, and is the broker healthy?",
    }[stage]
    return ConnectionFailedError(what, host=host, port=port, stage=stage)


def dns_failed(error: BaseException, host: str, port: int) -> ConnectionFailedError:
    """The host name could not be resolved."""
    return ConnectionFailedError(
        f"the host name {host!r} cannot be resolved ({_reason(error)}): check its spelling and the name server",
        host=host,
        port=port,
        stage="dns",
    )


def connection_failed(
    error: BaseException | None,
    stage: str,
    host: str,
    port: int,
    settings: ConnectionSettings,
    broker_close: tuple[int, str] | None = None,
) -> ConnectionFailedError:
    """A connection could not be opened. ``broker_close``: code and text of the broker's connection.close, if it sent one."""
    if broker_close is not None:
        return _refused_by_broker(*broker_close, host, port, settings)
    if isinstance(error, ConfigurationError):  # a certificate's file that cannot be read
        return TLSError(f"no connection to {host}:{port} was tried: {error}", host=host, port=port, stage="tls")
    if isinstance(error, ssl.SSLError) and not isinstance(error, _HUNG_UP):
        return TLSError(_tls_sentence(error, host, port), host=host, port=port, stage="tls")
    if stage == "tcp":
        refused = isinstance(error, ConnectionRefusedError)
        hint = "nothing listens there: is RabbitMQ running?" if refused else "check host, port and firewall"
        return ConnectionFailedError(
            f"cannot connect to {host}:{port} ({_reason(error)}): {hint}", host=host, port=port, stage="tcp"
        )
    if stage == "tls":
        return ConnectionFailedError(
            f"{host}:{port} ended the TLS handshake ({_reason(error)}): is it a TLS port (amqps is 5671)?",
            host=host,
            port=port,
            stage="tls",
        )
    asked = "does it accept the client certificate" if settings.tls else "does it want TLS (amqps://)"
    if settings.frame_max < _SMALLEST_FRAME:  # it only hangs up, and tells its own log why
        asked = f"is frame_max={settings.frame_max} too small for it (RabbitMQ 4.1 wants {_SMALLEST_FRAME}), {asked}"
    return ConnectionFailedError(
        f"{host}:{port} ended the AMQP handshake ({_reason(error)}): is it a RabbitMQ port, {asked}, "
        "or is the broker just going down?",
        host=host,
        port=port,
        stage="amqp",
    )


def silent(name: str, address: str, seconds: float, heartbeat: float) -> ConnectionLostError:
    """The peer said nothing for ``seconds``."""
    return ConnectionLostError(
        f"connection {name}: nothing came from {address} for {seconds:.1f} s (heartbeat {heartbeat:g} s): given up as dead; "
        "it is being opened again"
    )


def replaced(name: str, error: BaseException) -> ConnectionLostError:
    """Something of ours, or of pika's, failed on the I/O thread; nobody knows what it left half-done."""
    return ConnectionLostError(
        f"connection {name} is replaced after an error inside its I/O thread ({type(error).__name__}: {error}); "
        "please report it"
    )


def speaks_tls(host: str, port: int) -> TLSError:
    """Plain AMQP was answered in TLS."""
    return TLSError(
        f"{host}:{port} speaks TLS, and plain AMQP was tried: use amqps:// (tls=TLSSettings(…)), or the broker's port for "
        "plain AMQP (5672)",
        host=host,
        port=port,
        stage="amqp",
    )


def _refused_by_broker(
    code: int, text: str, host: str, port: int, settings: ConnectionSettings
) -> ConnectionFailedError:
    user, vhost = settings.user, settings.vhost
    lowered = text.lower()
    kind: type[ConnectionFailedError] = ConnectionFailedError
    if code == 403:
        kind = AuthenticationError
        sentence = f"the broker {host}:{port} refused user {user!r}: wrong user name or password; check both ({text})"
    elif code == 530 and "not found" in lowered:
        kind = VirtualHostNotFoundError
        sentence = (
            f"the virtual host {vhost!r} does not exist on {host}:{port}: create it (rabbitmqctl add_vhost) ({text})"
        )
    elif code == 530 and "limit" not in lowered and "is down" not in lowered:
        kind = VirtualHostAccessError
        sentence = (
            f"user {user!r} has no permission for the virtual host {vhost!r} on {host}:{port}: "
            f"grant it (rabbitmqctl set_permissions -p {vhost}) ({text})"
        )
    else:
        sentence = f"the broker {host}:{port} closed the connection while it opened: {code} {text}"
    return kind(sentence, host=host, port=port, stage="amqp")


def _tls_sentence(error: ssl.SSLError, host: str, port: int) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        step = _CERTIFICATE_STEPS.get(error.verify_code, "name the file of the authority that issued it (cafile)")
        return f"the certificate of {host}:{port} is not accepted: {error.verify_message}; {step}"
    reason = error.reason or str(error)
    if any(word in reason for word in _CLIENT_CERTIFICATE_ALERTS):
        return f"{host}:{port} wants a client certificate that it accepts ({reason}): set certfile and keyfile"
    if "WRONG_VERSION_NUMBER" in reason:
        return f"{host}:{port} does not speak TLS ({reason}): use amqp://, or the broker's TLS port (5671)"
    return f"the TLS handshake with {host}:{port} failed: {reason}"


def connection_lost(error: BaseException | None, name: str) -> ConnectionLostError:
    """An open connection ended."""
    if isinstance(error, ConnectionLostError):
        return error
    if isinstance(error, pika_exceptions.ConnectionClosedByBroker):
        why = f"the broker closed it: {error.reply_code} {' '.join(error.reply_text.split())}"  # some have lines
    elif isinstance(error, pika_exceptions.ConnectionClosedByClient):
        why = "it was closed on our side"
    else:
        why = _reason(error)
    return ConnectionLostError(f"connection {name} was lost ({why}); it is being opened again")


def channel_closed(code: int, text: str, during: str) -> ChannelClosedError:
    """The broker closed a channel with ``code`` and ``text`` ``during`` a call."""
    kind = _CHANNEL_ERRORS.get(code, ChannelClosedError)
    step = _NEXT_STEP.get(code, "open a new channel")
    return kind(f"{during}: the broker closed the channel: {code} {text}; {step}", code=code, text=text)


def close_reason(reason: BaseException) -> tuple[int, str]:
    """Code and text of a channel.close; code 0 if the channel ended without one."""
    if isinstance(reason, pika_exceptions.ChannelClosed):
        return reason.reply_code, reason.reply_text
    return 0, str(reason)


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "no reason given"
    if isinstance(error, socket.gaierror | OSError) and error.strerror:
        return error.strerror
    text = str(error).strip()
    return text or type(error).__name__


def own_copy(error: E) -> E:
    """The same error for one more caller: one that is raised again and again keeps the frames of every caller alive."""
    another = copy.copy(error)
    another.__cause__ = error.__cause__
    return another
