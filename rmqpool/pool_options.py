"""What the pool's arguments may be: checked before anything is opened."""

from __future__ import annotations

import dataclasses
from typing import Any

from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings
from rmqpool.urls import parse_url

__all__ = ["connection_settings", "seconds", "whole_number"]


def connection_settings(
    url: str | ConnectionSettings, heartbeat: int | None, blocked_timeout: float | None, name: str
) -> ConnectionSettings:
    """The settings of a URL, or those given, with what the pool's own arguments say instead."""
    overrides: dict[str, Any] = {
        "heartbeat": heartbeat,
        "blocked_timeout": blocked_timeout,
        "connection_name": name or None,
    }
    given = {field: value for field, value in overrides.items() if value is not None}
    if isinstance(url, str):
        return parse_url(url, **given)
    if not isinstance(url, ConnectionSettings):
        raise ConfigurationError(
            f"a pool needs a URL (amqp://user:password@host/vhost) or ConnectionSettings, not {type(url).__name__}"
        )
    return dataclasses.replace(url, **given)


def whole_number(name: str, value: int) -> int:
    """A whole number of at least 1, or ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}; give a whole number of at least 1")
    return value


def seconds(name: str, value: float) -> float:
    """Seconds above 0, or ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(f"{name} is {value!r}; give seconds above 0")
    return float(value)
