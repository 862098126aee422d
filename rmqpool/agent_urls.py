"""``agent:///path/of/the.sock``: an AMQP URL for a ``rmqpool agent``, which knows the broker and its password itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rmqpool.errors import ConfigurationError
from rmqpool.url_options import OPTIONS, decode

__all__ = ["AGENT_SCHEME", "agent_values"]

AGENT_SCHEME = "agent"
_EXAMPLE = "write agent:///run/rmqpool.sock"
_NOT_THERE = frozenset(  # options and settings that stand with the agent, not with its clients
    {"hosts", "user", "password", "password_file", "vhost", "tls", "dns_timeout", "tls_timeout", "frame_max"}
    | {"cafile", "certfile", "keyfile", "verify", "server_hostname"}
)


def agent_values(
    user: str | None,
    host: str,
    path: str,
    query: str,
    options: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """The fields of ConnectionSettings that an agent's URL gives. Pure. Raises ConfigurationError."""
    if user is not None:
        raise ConfigurationError(
            f"an agent's URL takes no user and no password, the file's permissions decide: {_EXAMPLE}"
        )
    if host:
        raise ConfigurationError(f"an agent's URL names a Unix socket, no host, so three slashes: {_EXAMPLE}")
    if not path:
        raise ConfigurationError(f"the agent's URL names no socket: {_EXAMPLE}")
    for field in options:
        if field in _NOT_THERE:
            name = next(name for name, (known, _) in OPTIONS.items() if known == field)
            raise ConfigurationError(
                f"the URL's option {name} is of no use with an agent: give it to the agent's own URL"
            )
    for name in overrides:
        if name in _NOT_THERE:
            raise ConfigurationError(f"the setting {name} is of no use with an agent: give it to the agent's own URL")
    return {**options, "socket_path": "/" + decode(path, "the path")}
