"""The webhook worker: a message is acknowledged when the endpoint took it, tried again when it may, parked when not."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import quote

import httpx

from rmqpool import Backoff, Delivery, Reject, RetryPolicy, Worker
from rmqpool.errors import ConfigurationError
from rmqpool.identifiers import new_message_id
from workers.webhook.answers import Answer, meaning_of, retry_after
from workers.webhook.breaker import UnavailableError, breaker
from workers.webhook.endpoint import Endpoint
from workers.webhook.settings import PREFIX, WebhookSettings
from workers.webhook.signing import signature_headers

__all__ = ["UnavailableError", "make_worker"]

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


def make_worker(settings: WebhookSettings) -> Worker:
    """The worker for these settings. Raises ConfigurationError."""
    if settings.backoff_max < settings.backoff_first:
        raise ConfigurationError(
            f"{PREFIX}BACKOFF_MAX is {settings.backoff_max:g}, below {PREFIX}BACKOFF_FIRST ({settings.backoff_first:g})"
        )
    worker = Worker("webhook")
    endpoint = Endpoint(settings)
    worker.add_service(endpoint)
    policy = RetryPolicy(settings.max_attempts, Backoff(settings.backoff_first, settings.backoff_max), on=())

    @worker.consumer(settings.queue, concurrency=settings.concurrency, retry=policy, middleware=breaker(settings))
    async def deliver(body: bytes, delivery: Delivery) -> None:
        """At least once: after a crash, or a timeout, the endpoint may get it a second time, with the same webhook-id."""
        headers = request_headers(settings, delivery, body, int(time.time()))
        try:
            status, asked = await endpoint.post(body, headers)
        except httpx.LocalProtocolError as error:
            raise Reject("the request cannot be sent") from error
        except (httpx.HTTPError, OSError) as error:
            told = type(error).__name__
            endpoint.report(told)
            raise UnavailableError(told) from None  # its text may hold the address, and the breaker logs a traceback
        answer = meaning_of(status)
        endpoint.report(f"HTTP {status}" if answer is Answer.AGAIN else "")
        if answer is Answer.REFUSED:
            raise Reject(f"HTTP {status}")
        if answer is Answer.AGAIN:
            wait = retry_after(asked, datetime.now(UTC), settings.retry_after_max)
            at_least = policy.delay_after(delivery.attempt)
            raise UnavailableError(f"HTTP {status}", delay=None if wait is None else max(wait, at_least))

    return worker


def request_headers(settings: WebhookSettings, delivery: Delivery, body: bytes, now: int) -> dict[str, str]:
    """The headers of one request, made at ``now`` (seconds since 1970). A message without an id gets one each time."""
    message_id = header_value(delivery.message_id or new_message_id())
    headers = {
        "content-type": header_value(delivery.content_type or "application/octet-stream"),
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-attempt": str(delivery.attempt),
    }
    if delivery.type:
        headers["webhook-type"] = header_value(delivery.type)
    return headers | signature_headers(settings.signature, settings.keys, message_id, now, body)


def header_value(text: str | bytes) -> str:
    """A property as HTTP takes it: printable ASCII stays, everything else becomes %XX."""
    if isinstance(text, str) and text.isascii() and text.isprintable() and text == text.strip():
        return text
    return quote(text, safe=_PRINTABLE)
