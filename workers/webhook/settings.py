"""What the webhook worker is told by the environment."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from rmqpool.secret import Secret
from workers.environment import SecretText, WorkerSettings

__all__ = ["PREFIX", "WebhookSettings"]

PREFIX: Final = "WEBHOOK_"
_OURS = ("content-type", "content-length", "host", "transfer-encoding")  # as well as all that begin with webhook-
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110, 5.6.2, in lower case


class WebhookSettings(WorkerSettings):
    """Times are seconds. ``secret``: one or more keys, separated by blanks; each signs, so that a key can be replaced.

    ``headers`` is a JSON object of further request headers. ``timeout`` is that of the whole request, answer included.
    ``retry_after_max`` is the longest that an endpoint may ask us to wait (Retry-After). ``breaker_failures`` requests that
    fail in a row, or half of as many and more, pause consuming (0: never); ``breaker_pause…``: before each request that tries.
    """

    url: SecretText = Field(description="the endpoint, as in https://example.com/hooks")
    queue: str = "webhooks"
    secret: SecretText | None = None
    signature: Literal["standard", "stripe", "github"] = "standard"
    headers: SecretText = Secret("{}")
    timeout: Annotated[float, Field(gt=0, le=900, allow_inf_nan=False)] = 30.0
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 32
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 12
    backoff_first: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] = 5.0
    backoff_max: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] = 3600.0
    retry_after_max: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 3600.0
    breaker_failures: Annotated[int, Field(ge=0, le=10_000)] = 10
    breaker_pause_first: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 1.0
    breaker_pause_max: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 60.0

    @field_validator("url")
    @classmethod
    def _is_an_endpoint(cls, url: Secret) -> Secret:
        try:
            parts = urlsplit(url.reveal())
            _ = parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("it must be an address such as https://example.com/hooks")
        if any(not "!" <= letter <= "~" for letter in url.reveal()):
            raise ValueError("it holds blanks, or letters beyond ASCII: write them as %XX")
        return url

    @field_validator("secret")
    @classmethod
    def _is_long_enough(cls, secret: Secret | None) -> Secret | None:
        if secret is not None and (not secret.reveal().split() or min(map(len, secret.reveal().split())) < 16):
            raise ValueError("a key of less than 16 characters can be guessed: make a longer one")
        return secret

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: Secret) -> Secret:
        try:
            table = json.loads(headers.reveal())
        except ValueError:
            table = None
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise ValueError('it must be a JSON object of texts, as in {"Authorization": "Bearer …"}')
        for name, value in table.items():
            if not name or not set(name.lower()) <= _TOKEN or not all(" " <= letter <= "~" for letter in value):
                raise ValueError("a name or a value in it is none that HTTP takes: printable ASCII")
            if name.lower() in _OURS or name.lower().startswith("webhook-"):
                raise ValueError(f"{name.lower()} is set by the worker itself")
        return headers

    @property
    def endpoint(self) -> str:
        """Where it delivers to, for people: without path, query, user and password."""
        parts = urlsplit(self.url.reveal())
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"

    @property
    def more_headers(self) -> dict[str, str]:
        """``headers``, read."""
        table: dict[str, str] = json.loads(self.headers.reveal())
        return table

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys in ``secret``."""
        return tuple(self.secret.reveal().split()) if self.secret is not None else ()
