"""The HTTP side: one client with a pool of connections for the whole worker, on the worker's event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from rmqpool.version import __version__
from workers.webhook.settings import WebhookSettings

__all__ = ["Endpoint"]

_LOGGER = logging.getLogger("rmqpool.workers.webhook")
_MOST_READ: Final = 64 * 1024  # bytes of an answer that are read, so that its connection can be used again


class Endpoint:
    """A service of the worker: closed after its consumers have ended. ``post`` runs on one event loop.

    Says when the endpoint begins to fail, and when it works again; never with its path, which may hold a token.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fails = False

    @property
    def name(self) -> str:
        """For the log."""
        return f"the client of {self._settings.endpoint}"

    @property
    def failure(self) -> BaseException | None:
        """It does not die: a failed request is its message's."""
        return None

    def start(self) -> None:
        """The client is made by the first request, on its event loop."""

    def stop(self, timeout: float) -> bool:
        """Close all connections; False if that took more than ``timeout`` seconds."""
        client, loop = self._client, self._loop
        self._client = self._loop = None
        if client is None or loop is None or loop.is_closed():
            return True
        closing = asyncio.run_coroutine_threadsafe(client.aclose(), loop)
        try:
            closing.result(timeout)
        except (TimeoutError, concurrent.futures.CancelledError):
            return False
        return True

    async def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str | None]:
        """Status and Retry-After of the answer. Raises httpx.HTTPError; OSError for what httpx passes on
        (a broken TLS record); TimeoutError after the settings' timeout.
        """
        async with asyncio.timeout(self._settings.timeout):
            async with self._connected().stream(
                "POST", self._settings.url.reveal(), content=body, headers=headers
            ) as answer:
                await _read_some(answer)
                return answer.status_code, answer.headers.get("retry-after")

    def report(self, trouble: str) -> None:
        """``trouble`` is why a request failed; empty for one that was answered well."""
        if bool(trouble) is self._fails:
            return
        self._fails = bool(trouble)
        if trouble:
            _LOGGER.warning("%s fails (%s): its messages are tried again later", self._settings.endpoint, trouble)
        else:
            _LOGGER.info("%s works again", self._settings.endpoint)

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            most = self._settings.concurrency
            self._client = httpx.AsyncClient(
                headers={"user-agent": f"rmqpool-webhook/{__version__}", **self._settings.more_headers},
                limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
                timeout=self._settings.timeout,
                follow_redirects=False,
                event_hooks={"response": [_forget_location]},
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # no message is to tell of another one
            )
            self._loop = asyncio.get_running_loop()
        return self._client


async def _forget_location(answer: httpx.Response) -> None:
    """httpx reads it even of a redirect that is not followed, and raises for one that is no address."""
    answer.headers.pop("location", None)


async def _read_some(answer: httpx.Response) -> None:
    """A connection whose answer was read to its end is kept; one with a long answer is closed instead."""
    size = 0
    async for piece in answer.aiter_raw():
        size += len(piece)
        if size > _MOST_READ:
            return
