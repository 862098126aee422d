"""The options behind the ``?`` of an AMQP URL. An unknown one is told by its place and what it may have meant.

Names are RabbitMQ's (rabbitmq.com/docs/uri-query-parameters) where it has one, otherwise ours. No error repeats
a text of the URL: a password may stand in the wrong place.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote

from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings
from rmqpool.tls import TLSSettings

__all__ = ["OPTIONS", "TLS_FIELDS", "decode", "read_options", "suggestion", "write_options"]


def _whole(text: str, name: str) -> int:
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise ConfigurationError(f"the URL's option {name} must be a whole number")
    return int(text)


def _number(text: str, name: str) -> float:
    if re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?(e-?[0-9]{1,2})?", text) is None:
        raise ConfigurationError(f"the URL's option {name} must be a number of seconds, such as 2.5")
    return float(text)


def _seconds_of_milliseconds(text: str, name: str) -> float:
    return _whole(text, name) / 1000


def _text(text: str, name: str) -> str:
    return text


def _verify(text: str, name: str) -> bool:
    if text not in ("verify_peer", "verify_none"):
        raise ConfigurationError(f"the URL's option {name} must be verify_peer or verify_none")
    return text == "verify_peer"


TLS_FIELDS = {
    "cacertfile": "cafile",
    "certfile": "certfile",
    "keyfile": "keyfile",
    "verify": "verify",
    "server_name_indication": "server_hostname",
}

# option: (field, reader); connection_timeout is RabbitMQ's, in milliseconds, and means the TCP connect
OPTIONS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "heartbeat": ("heartbeat", _whole),
    "channel_max": ("channel_max", _whole),
    "frame_max": ("frame_max", _whole),
    "max_message_size": ("max_message_size", _whole),
    "connection_timeout": ("tcp_timeout", _seconds_of_milliseconds),
    "connection_name": ("connection_name", _text),
    "password_file": ("password_file", _text),
    **{
        name: (name, _number)
        for name in (
            "dns_timeout",
            "tcp_timeout",
            "tls_timeout",
            "amqp_timeout",
            "blocked_timeout",
            "reconnect_delay",
            "reconnect_max_delay",
            "refused_delay",
        )
    },
    **{name: (field, _verify if name == "verify" else _text) for name, field in TLS_FIELDS.items()},
}


def read_options(query: str) -> dict[str, Any]:
    """Field -> value. An unknown option is told by its number and what it may have meant, never by its text."""
    options: dict[str, Any] = {}
    for position, part in enumerate(query.split("&") if query else (), 1):
        raw_name, separator, raw_value = part.partition("=")
        name = decode(raw_name, f"the name of option {position}")
        if name not in OPTIONS:
            raise ConfigurationError(f"option {position} of the URL is unknown{suggestion(name, OPTIONS)}")
        if not separator or not raw_value:
            raise ConfigurationError(f"the URL's option {name} has no value: write {name}=…")
        field, read = OPTIONS[name]
        if field in options:
            raise ConfigurationError(f"the URL's option {name} is given twice (or under two names): keep one")
        options[field] = read(decode(raw_value, f"option {name}"), name)
    return options


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: which one was meant, and all that are known."""
    close = difflib.get_close_matches(name[:60], list(known), 1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"{hint} Known: {', '.join(sorted(known))}"


def decode(text: str, what: str) -> str:
    """``text`` without its percent-encoding (UTF-8); ``what`` names it in the ConfigurationError."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ConfigurationError(f"a '%' in {what} of the URL is not followed by two hex digits: write it as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"the percent-encoding in {what} of the URL is not UTF-8") from None


def write_options(settings: ConnectionSettings) -> str:
    """The query for everything in ``settings`` that is not a default; the other way round than :func:`read_options`.

    Raises ConfigurationError if there is a password for the client's key, which no URL can carry.
    """
    defaults = ConnectionSettings()
    fields = {field.name for field in dataclasses.fields(ConnectionSettings)}
    options = {
        name: str(getattr(settings, field))
        for name, (field, _) in OPTIONS.items()
        if name == field and field in fields and getattr(settings, field) != getattr(defaults, field)
    }
    options.update(_tls_options(settings.tls))
    return "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items())


def _tls_options(tls: TLSSettings | None) -> dict[str, str]:
    if tls is None:
        return {}
    if tls.key_password is not None:
        raise ConfigurationError("the password of the client's key cannot stand in a URL: pass tls=TLSSettings(…)")
    options = {
        name: getattr(tls, field)
        for name, field in TLS_FIELDS.items()
        if name != "verify" and getattr(tls, field) is not None
    }
    return options if tls.verify else {**options, "verify": "verify_none"}
