"""An AMQP URL is parsed by our own rules, and no error repeats any part of it: a password may stand in the wrong place.

The form is RabbitMQ's URI specification (rabbitmq.com/docs/uri-spec) with several hosts, and the options of
rabbitmq.com/docs/uri-query-parameters beside ours::

    amqps://user:password@host1:5671,host2,[::1]/virtual%2Fhost?heartbeat=10&cacertfile=/etc/ca.pem

One deviation: ``amqp://host/`` means the virtual host ``/``, as ``amqp://host`` does, not the empty name that the
specification reads there. No broker is set up with an empty name, and most people who write it mean the default (pika
and kombu read it so too). ``amqp://host//``, kombu's way to write ``/``, is understood.

``agent:///run/rmqpool.sock`` is the Unix socket of a ``rmqpool agent``; agent_urls.py reads it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rmqpool.agent_urls import AGENT_SCHEME, agent_values
from rmqpool.errors import ConfigurationError
from rmqpool.secret import Secret
from rmqpool.settings import ConnectionSettings, is_host
from rmqpool.tls import TLSSettings
from rmqpool.url_options import TLS_FIELDS, decode, read_options, suggestion, write_options

__all__ = ["build_url", "parse_url"]

_PORTS = {"amqp": 5672, "amqps": 5671}
_FIELDS = {field.name for field in dataclasses.fields(ConnectionSettings)}


def parse_url(url: str, **overrides: Any) -> ConnectionSettings:
    """The settings that ``url`` and the keyword arguments give; a keyword (a field's name) wins over the URL.

    Raises ConfigurationError, which says what is wrong and repeats nothing of the URL.
    """
    unknown = sorted(set(overrides) - _FIELDS)
    if unknown:
        raise ConfigurationError(f"unknown setting {unknown[0]!r}{suggestion(unknown[0], _FIELDS)}")
    if isinstance(overrides.get("password"), str):
        overrides["password"] = Secret(overrides["password"])
    scheme, user, hosts, path, query = _split(url)
    options = read_options(query)
    if scheme == AGENT_SCHEME:
        return ConnectionSettings(**{**agent_values(user, hosts, path, query, options, overrides), **overrides})
    values: dict[str, Any] = {
        "hosts": _hosts(hosts, _PORTS[scheme]),
        "vhost": _vhost(path),
        **_credentials(user, options, overrides),
        **_tls(scheme, options, overrides),
        **options,
    }
    return ConnectionSettings(**{**values, **overrides})


def _split(url: object) -> tuple[str, str | None, str, str, str]:
    """Scheme, user information (None if there is none), hosts, path (None: ``""``), query."""
    if isinstance(url, Secret):
        url = url.reveal()
    if not isinstance(url, str):
        raise ConfigurationError(f"the URL must be a text, not {type(url).__name__}")
    if not url.strip():
        raise ConfigurationError("the URL is empty: write amqp://user:password@host:5672/virtual-host")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ConfigurationError(
            "the URL holds a space, line break or control character: remove it, or write it as %20"
        )
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in (*_PORTS, AGENT_SCHEME):
        raise ConfigurationError("the URL must start with amqp:// or amqps:// (or agent:///, for a `rmqpool agent`)")
    if "#" in rest:
        raise ConfigurationError("the URL holds a '#': write it as %23")
    before_query, _, query = rest.partition("?")
    authority, _, path = before_query.partition("/")
    user, hosts = _user_and_hosts(authority)
    return scheme, user, hosts, path, query


def _user_and_hosts(authority: str) -> tuple[str | None, str]:
    if authority.count("@") > 1:
        raise ConfigurationError("the URL holds more than one '@' before the path: write those of a password as %40")
    user, separator, hosts = authority.rpartition("@")
    return (user if separator else None), hosts


def _hosts(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    if not text:
        raise ConfigurationError("the URL names no host: write amqp://user:password@host:5672/virtual-host")
    return tuple(_host(part, position, default_port) for position, part in enumerate(text.split(","), 1))


def _host(text: str, position: int, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<name>[^:\[\]]*))(?P<port>:.*)?", text)
    if match is None:
        raise ConfigurationError(
            f"host {position} of the URL cannot be read: write host, host:port or [IPv6 address]:port; "
            "a ':', '/' or '@' in a password must be percent-encoded (%3A, %2F, %40)"
        )
    name = decode(match["six"], f"host {position}") if match["six"] else match["name"]
    if not is_host(name) or (":" in name) != bool(match["six"]):
        raise ConfigurationError(
            f"host {position} of the URL is missing, or no host name and no address: check commas and characters"
        )
    return name, _port(match["port"], position, default_port)


def _port(text: str | None, position: int, default_port: int) -> int:
    if text is None:
        return default_port
    if re.fullmatch(r":[0-9]{1,5}", text) is None or not 1 <= int(text[1:]) <= 65535:
        raise ConfigurationError(
            f"the port of host {position} of the URL must be a whole number from 1 to 65535; "
            "if that is a part of the password, write ':', '/', '?' and '@' in it as %3A, %2F, %3F and %40"
        )
    return int(text[1:])


def _vhost(path: str) -> str:
    if path in ("", "/"):
        return "/"
    if "/" in path:
        raise ConfigurationError("the URL's path has a second '/': in a virtual host's name, write it as %2F")
    return decode(path, "the virtual host")


def _credentials(user: str | None, options: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    password_file = options.pop("password_file", None)
    if user is not None:
        name, separator, password = user.partition(":")
        if ":" in password:
            raise ConfigurationError("the URL holds a second ':' before the '@': write those of a password as %3A")
        if not name and "user" not in overrides:
            raise ConfigurationError("the URL has no user before the ':' or '@'")
        if name:
            values["user"] = decode(name, "the user")
        if separator:
            values["password"] = Secret(decode(password, "the password"))
    if password_file is not None:
        if "password" in values:
            raise ConfigurationError("the URL has a password and a password_file: keep one of them")
        values["password"] = _secret_from_file(password_file)
    if values.get("user") and "password" not in values and "password" not in overrides:
        raise ConfigurationError("the URL has a user, but no password: write user:password@, or ?password_file=/path")
    return values


def _secret_from_file(path: str) -> Secret:
    try:
        return Secret(Path(path).read_text(encoding="utf-8").rstrip("\r\n"))
    except (OSError, ValueError):
        raise ConfigurationError(
            "the file that password_file names cannot be read: check the path and permissions"
        ) from None


def _tls(scheme: str, options: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: options.pop(name) for name in list(options) if name in TLS_FIELDS.values()}
    override = overrides.get("tls")
    if scheme == "amqp":
        if given or override is not None:
            raise ConfigurationError("a TLS option, but the URL starts with amqp://: TLS is spoken with amqps:// only")
        return {}
    if "tls" in overrides and given:
        raise ConfigurationError("TLS options stand in the URL and in tls=: keep one of them")
    if "tls" in overrides and override is None:
        raise ConfigurationError("tls=None, but the URL starts with amqps://: write amqp:// to go without TLS")
    return {"tls": TLSSettings(**given)}


def build_url(settings: ConnectionSettings) -> str:
    """The URL that :func:`parse_url` turns into equal settings. **It shows the password.**

    Raises ConfigurationError if the settings hold a key's password, which no URL can carry.
    """
    query = write_options(settings)
    if settings.socket_path is not None:
        return settings.redacted_url() + (f"?{query}" if query else "")
    password = quote(settings.password.reveal(), safe="")
    return settings.redacted_url().replace(":**********@", f":{password}@", 1) + (f"?{query}" if query else "")
