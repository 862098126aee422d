"""What an endpoint answers is a status, or an error that the worker knows: also when it is no HTTP, or nonsense in HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest
import trustme

from rmqpool.secret import Secret
from workers.webhook.endpoint import Endpoint
from workers.webhook.settings import WebhookSettings

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def endpoint_that(
    answer: Answer, timeout: float = 30.0, context: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """An endpoint of a server that answers each connection so."""
    connections: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            with contextlib.suppress(OSError):
                await answer(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    url = Secret(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks")
    endpoint = Endpoint(WebhookSettings(url=url, timeout=timeout))
    try:
        yield endpoint
    finally:
        client = endpoint._client
        if client is not None:
            await client.aclose()
        await asyncio.wait_for(_nobody_connected(server), 30)
        server.close()
        await server.wait_closed()
        await asyncio.wait_for(asyncio.gather(*connections), 30)


async def _nobody_connected(server: asyncio.Server) -> None:
    """A server that is closed between accepting a connection and serving it leaves its socket open (asyncio before 3.12)."""
    for _ in range(3):  # turns of the loop: what waits is accepted, then counted
        await asyncio.sleep(0)
    while getattr(server, "_active_count", 0) or getattr(server, "_clients", ()):  # before and since Python 3.13
        await asyncio.sleep(0.01)


def saying(*pieces: bytes, seen: list[bytes] | None = None) -> Answer:
    """Reads one request, and writes these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        for piece in pieces:
            writer.write(piece)

    return answer


@pytest.mark.parametrize(
    "location", ["http://[", "mailto:somebody@example.com", "http://a:99999999/", "\x7f", "/hooks"]
)
async def test_a_redirect_is_a_redirect_wherever_it_points(location: str) -> None:
    """It is not followed, so its address is not looked at either: the message is parked, not tried again or failed."""
    said = f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
    async with endpoint_that(saying(said)) as endpoint:
        assert await endpoint.post(b"", {}) == (302, None)


async def test_no_cookie_comes_back_with_another_message() -> None:
    """A request says what its message says, and an endpoint cannot make it grow."""
    seen: list[bytes] = []
    said = b"HTTP/1.1 204 No Content\r\nset-cookie: session=7; path=/\r\n\r\n"
    async with endpoint_that(saying(said, seen=seen)) as endpoint:
        await endpoint.post(b"", {})
        await endpoint.post(b"", {})
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot hexadecimal\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + 200_000 * b"x",
        b"HTTP/1.1 99999 Beyond\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_an_error_of_http(said: bytes) -> None:
    """The message is tried again: whether it was taken, nobody said."""
    async with endpoint_that(saying(said)) as endpoint:
        with pytest.raises(httpx.HTTPError):
            await endpoint.post(b"", {})


async def test_a_body_without_an_end_is_not_read_to_it() -> None:
    """The status has been said."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(4096 * b"x")
            await writer.drain()

    async with endpoint_that(answer) as endpoint:
        assert await endpoint.post(b"", {}) == (200, None)


async def test_an_answer_that_only_trickles_ends_by_the_timeout() -> None:
    """Each piece comes in time for a timeout that counts from the last one."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with endpoint_that(answer, timeout=0.3) as endpoint:
        with pytest.raises(TimeoutError):
            await endpoint.post(b"", {})


async def test_a_broken_tls_record_is_an_error_of_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpx passes the one of ssl on as it is: an OSError, which the worker takes for a failed request."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        record = b"\x17\x03\x03\x00\x20" + 32 * b"x"  # encrypted with nothing
        os.write(writer.get_extra_info("socket").fileno(), record)
        await reader.read()

    async with endpoint_that(answer, context=context) as endpoint:
        with pytest.raises(OSError, match=r"(?i)record|mac"):
            await endpoint.post(b"", {})
