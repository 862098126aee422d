"""Settings of a connection are a value: checked when made, never changed, and never showing the password."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from dataclasses import dataclass
from urllib.parse import quote

from rmqpool.errors import ConfigurationError
from rmqpool.secret import MASK, Secret
from rmqpool.tls import InsecureTLSWarning, TLSSettings

__all__ = ["ConnectionSettings", "InsecureTLSWarning", "Secret", "TLSSettings", "is_host"]

_LONGEST_PATH = 107  # bytes: sun_path of unix(7) has 108, with a NUL at its end
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")

# name: (lowest, highest, only whole numbers, None allowed)
_RANGES: dict[str, tuple[float, float, bool, bool]] = {
    "heartbeat": (1, 3600, True, False),  # 0 would turn it off, and the watchdog stands on it
    "dns_timeout": (0.001, 3600, False, False),
    "tcp_timeout": (0.001, 3600, False, False),
    "tls_timeout": (0.001, 3600, False, False),
    "amqp_timeout": (0.001, 3600, False, False),
    "blocked_timeout": (0.001, 86400, False, True),
    "reconnect_delay": (0.001, 3600, False, False),
    "reconnect_max_delay": (0.001, 3600, False, False),
    "refused_delay": (1, 86400, False, False),
    "frame_max": (4096, 131072, True, False),  # AMQP 0-9-1 frame-min-size; pika's and RabbitMQ's highest
    "channel_max": (1, 65535, True, False),
    "max_message_size": (1, 536870912, True, True),  # RabbitMQ's hard limit is 512 MiB
}


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Everything needed to open a connection and to keep it. Times are seconds, sizes bytes.

    ``hosts`` are tried in turn. ``blocked_timeout`` None leaves a blocked connection to each message's own deadline.
    ``reconnect_delay`` is the first pause between attempts, ``reconnect_max_delay`` the longest; ``refused_delay`` is
    the pause after a wrong password or a missing virtual host while running. ``max_message_size`` None means what the
    broker's generation takes by default (128 MiB before RabbitMQ 4, 16 MiB since). ``socket_path`` is the Unix socket of a
    ``rmqpool agent``, which knows hosts, user and TLS itself; None: there is no agent in between.

    Raises ConfigurationError, which names the field and what it may be. Immutable and thread-safe.
    """

    hosts: tuple[tuple[str, int], ...] = (("127.0.0.1", 5672),)
    user: str = "guest"
    password: Secret = Secret("guest")  # noqa: RUF009 - immutable
    vhost: str = "/"
    tls: TLSSettings | None = None
    heartbeat: int = 15
    dns_timeout: float = 5.0
    tcp_timeout: float = 5.0
    tls_timeout: float = 5.0
    amqp_timeout: float = 10.0
    blocked_timeout: float | None = None
    reconnect_delay: float = 0.1
    reconnect_max_delay: float = 5.0
    refused_delay: float = 30.0
    frame_max: int = 131072
    channel_max: int = 2047
    max_message_size: int | None = None
    connection_name: str = ""
    socket_path: str | None = None

    def __post_init__(self) -> None:
        _check_hosts(self.hosts)
        _check_credentials(self.user, self.password)
        _check_vhost(self.vhost)
        _check_connection_name(self.connection_name)
        if self.tls is not None and not isinstance(self.tls, TLSSettings):
            raise ConfigurationError(f"tls must be TLSSettings or None, not {type(self.tls).__name__}")
        if self.socket_path is not None:
            _check_socket_path(self.socket_path)
            if self.tls is not None:
                raise ConfigurationError("tls is of no use with an agent: the agent speaks TLS to the broker")
        for name in _RANGES:
            _check_number(name, getattr(self, name))
        if self.reconnect_delay > self.reconnect_max_delay:
            raise ConfigurationError(
                f"reconnect_delay ({self.reconnect_delay:g} s) is longer than "
                f"reconnect_max_delay ({self.reconnect_max_delay:g} s)"
            )

    def redacted_url(self) -> str:
        """The URL without options, with a mask in the place of the password: for logs and errors."""
        if self.socket_path is not None:
            return f"agent://{quote(self.socket_path)}"
        return f"{self._scheme}://{quote(self.user, safe='')}:{MASK}@{self._authority}/{quote(self.vhost, safe='')}"

    @property
    def address(self) -> str:
        """Where connections go, for a sentence: the agent's socket, or all hosts with their ports."""
        return self.socket_path if self.socket_path is not None else self._authority

    @property
    def _scheme(self) -> str:
        return "amqps" if self.tls else "amqp"

    @property
    def _authority(self) -> str:
        return ",".join(format_address(host, port) for host, port in self.hosts)


def format_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address (a zone's ``%`` as ``%25``, RFC 6874)."""
    return f"[{host.replace('%', '%25')}]:{port}" if ":" in host else f"{host}:{port}"


def is_host(host: object) -> bool:
    """True for a host name in ASCII, or an IPv4 or IPv6 address (without brackets)."""
    if not isinstance(host, str):
        return False
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return address.scope_id is None or re.fullmatch(r"[A-Za-z0-9_.-]+", address.scope_id) is not None


# No text that came out of a URL is repeated in these errors: a misplaced password could be in any of them.


def _check_hosts(hosts: object) -> None:
    if not isinstance(hosts, tuple) or not hosts:
        raise ConfigurationError("hosts must be a tuple of (host, port) pairs, with at least one")
    for position, pair in enumerate(hosts, 1):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ConfigurationError(f"hosts: number {position} must be a pair (host, port)")
        host, port = pair
        if not is_host(host):
            raise ConfigurationError(
                f"hosts: number {position} is no host name and no address "
                "(letters, digits, '.', '-', '_'; others in their xn-- form)"
            )
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
            raise ConfigurationError(f"hosts: the port of number {position} must be a whole number from 1 to 65535")


def _check_credentials(user: object, password: object) -> None:
    if not isinstance(user, str) or not user or not _encodable(user) or "\0" in user:
        raise ConfigurationError("user must be a text that is not empty")
    if not isinstance(password, Secret):
        raise ConfigurationError("password must be a Secret: wrap it, Secret('…')")
    if "\0" in password.reveal() or not _encodable(password.reveal()):  # SASL PLAIN separates by NUL (RFC 4616)
        raise ConfigurationError("password holds a character that cannot be sent (NUL or half a surrogate pair)")


def _check_vhost(vhost: object) -> None:
    if not isinstance(vhost, str) or not vhost or not _encodable(vhost):
        raise ConfigurationError("vhost must be a text that is not empty; the default virtual host is '/'")
    if (size := len(vhost.encode())) > 255:
        raise ConfigurationError(f"vhost has {size} bytes; AMQP takes at most 255")


def _check_connection_name(name: object) -> None:
    if not isinstance(name, str) or len(name) > 255 or not _encodable(name) or (name and not name.isprintable()):
        raise ConfigurationError("connection_name must be a text of at most 255 printable characters")


def _check_socket_path(path: object) -> None:
    if not isinstance(path, str) or not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ConfigurationError("socket_path must be the absolute path of a Unix socket, such as /run/rmqpool.sock")
    if not _encodable(path):
        raise ConfigurationError("socket_path must be a text that can be encoded as UTF-8")
    if (size := len(os.fsencode(path))) > _LONGEST_PATH:
        raise ConfigurationError(
            f"socket_path has {size} bytes; a Unix socket's path takes at most {_LONGEST_PATH}: use a shorter folder, "
            "such as /run"
        )


def _check_number(name: str, value: object) -> None:
    lowest, highest, whole, optional = _RANGES[name]
    if value is None and optional:
        return
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    kind = "a whole number" if whole else "a number"
    allowed = f"{kind} from {lowest:.15g} to {highest:.15g}{', or None' if optional else ''}"
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ConfigurationError(f"{name} must be {allowed}, not {type(value).__name__}")
    if not isinstance(value, int | float) or not math.isfinite(value) or not lowest <= value <= highest:
        raise ConfigurationError(f"{name} is {value!r}; it must be {allowed}")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
