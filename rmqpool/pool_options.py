"""What the pool's arguments may be: checked before anything is opened."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

from rmqpool.core.autoscale import Autoscale
from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings

if TYPE_CHECKING:
    from rmqpool.breaker import Breaker

__all__ = [
    "autoscale_below",
    "bounds",
    "channels_below",
    "circuit_breaker",
    "connection_settings",
    "seconds",
    "seconds_or_now",
    "whole_number",
]


def connection_settings(
    url: str | ConnectionSettings, heartbeat: int | None, blocked_timeout: float | None, name: str
) -> ConnectionSettings:
    """The settings of a URL, or those given, with what the pool's own arguments say instead."""
    from rmqpool.urls import parse_url

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


def whole_number(name: str, value: int, least: int = 1) -> int:
    """A whole number of at least ``least``, or ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} is {value!r}; give a whole number of at least {least}")
    return value


def channels_below(channel_max: int, channels_per_connection: int) -> int:
    """How many channels may be leased: a whole number below ``channel_max``, as declarations need one. ConfigurationError."""
    channels = whole_number("channels_per_connection", channels_per_connection)
    if channels >= channel_max:
        raise ConfigurationError(
            f"channels_per_connection is {channels}, channel_max of the URL {channel_max}: give fewer channels, or raise "
            "channel_max; one channel stays for declarations"
        )
    return channels


def bounds(name: str, policy: Autoscale | None) -> Autoscale | None:
    """Bounds for what sizes itself; None for a fixed size. ConfigurationError."""
    if policy is not None and not isinstance(policy, Autoscale):
        raise ConfigurationError(f"{name} is {policy!r}; give Autoscale(minimum=…, maximum=…), or None")
    return policy


def autoscale_below(channel_max: int, policy: Autoscale | None) -> Autoscale | None:
    """Bounds for leased channels, which fit below ``channel_max``; None for a fixed size. ConfigurationError."""
    policy = bounds("autoscale", policy)
    if policy is not None and policy.maximum >= channel_max:
        raise ConfigurationError(
            f"autoscale: maximum is {policy.maximum}, channel_max of the URL {channel_max}: one channel stays for declarations"
        )
    return policy


def circuit_breaker(breaker: Breaker | None) -> Breaker | None:
    """A circuit breaker around connecting; None for none. ConfigurationError."""
    if breaker is not None:
        from rmqpool.breaker import Breaker

        if not isinstance(breaker, Breaker):
            raise ConfigurationError(f"breaker is {breaker!r}; give Breaker('the broker'), or None")
    return breaker


def seconds(name: str, value: float) -> float:
    """Seconds above 0 that a thread can wait for (at most some 292 years), or ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= threading.TIMEOUT_MAX:
        raise ConfigurationError(f"{name} is {value!r}; give seconds above 0")
    return float(value)


def seconds_or_now(value: float) -> float:
    """How long to wait for what a pool lends: as :func:`seconds`, or 0 for what is free at once."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= threading.TIMEOUT_MAX:
        raise ConfigurationError(f"timeout is {value!r}; give seconds, 0 for what is free at once")
    return float(value)
