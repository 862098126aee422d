"""The circuit breaker of the webhook worker: an endpoint that is down is left alone, and no message's attempts are spent."""

from __future__ import annotations

from typing import Final

from rmqpool import Backoff, Middleware, Retry
from rmqpool.errors import ConfigurationError
from rmqpool.middlewares import BreakerPolicy, CircuitBreaker
from workers.webhook.settings import PREFIX, WebhookSettings

__all__ = ["UnavailableError", "breaker"]

_SPARE: Final = 5.0  # seconds that a request which tries the endpoint may take beyond its timeout


class UnavailableError(Retry):
    """The endpoint did not take the message now, and may later. ``delay`` is what it asked for, in seconds, if it did."""


def breaker(settings: WebhookSettings) -> tuple[Middleware, ...]:
    """The middleware for these settings: a breaker, or none at all. Raises ConfigurationError.

    While it is closed, a failure is its message's own, and the retry policy has it.
    """
    if not settings.breaker_failures:
        return ()
    if settings.breaker_pause_max < settings.breaker_pause_first:
        raise ConfigurationError(
            f"{PREFIX}BREAKER_PAUSE_MAX is {settings.breaker_pause_max:g}, below"
            f" {PREFIX}BREAKER_PAUSE_FIRST ({settings.breaker_pause_first:g})"
        )
    policy = BreakerPolicy(
        minimum=settings.breaker_failures,
        pause=Backoff(settings.breaker_pause_first, settings.breaker_pause_max),
        patience=settings.timeout + _SPARE,
    )
    return (CircuitBreaker(settings.endpoint, on=_is_down, policy=policy, tries=1),)


def _is_down(error: BaseException) -> bool:
    """An endpoint that says when to come again is there, and gets the time that it asked for."""
    return isinstance(error, UnavailableError) and error.delay is None
