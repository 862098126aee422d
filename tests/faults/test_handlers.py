"""Row 35 of the fault matrix: handlers that raise the worst. The message is settled, its headers fit, the worker goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest

from faults.harness import until
from faults.parked import Foreign, parked_in, publish_foreign, remaining_in
from rmqpool import Worker, parse_url
from rmqpool import headers as names

FRAME_MAX = 131072


class UnprintableError(Exception):
    """Cannot be shown in any way."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class ExitingError(Exception):
    """Ends whoever shows it."""

    def __str__(self) -> str:
        raise SystemExit(9)

    __repr__ = __str__


class NotATextError(Exception):
    """Its text is none."""

    def __str__(self) -> str:
        return 42  # type: ignore[return-value]


class HidingError(Exception):
    """Denies its traceback, its arguments and its causes."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")


def unprintable() -> None:
    raise UnprintableError


def exiting() -> None:
    raise ExitingError


def not_a_text() -> None:
    raise NotATextError


def hiding() -> None:
    raise HidingError


def recursion() -> None:
    recursion()


def megabytes() -> None:
    raise RuntimeError("é" * 2_500_000)


def half_a_surrogate() -> None:
    raise ValueError("half \ud83d of it \x00")


def a_long_chain() -> None:
    error: BaseException | None = None
    for number in range(2000):
        following = RuntimeError(f"{number}: " + "x" * 500)
        following.__cause__ = error
        error = following
    assert error is not None
    raise error


def a_circle() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def a_group() -> None:
    raise ExceptionGroup("many", [ValueError("x" * 1000) for _ in range(500)])


def unprintable_cause() -> None:
    try:
        unprintable()
    except UnprintableError as error:
        raise RuntimeError("outer") from error


def long_name() -> None:
    raise type("L" * 70_000, (Exception,), {})("named at length")


def system_exit() -> None:
    sys.exit("the handler's own idea")


def interrupt() -> None:
    raise KeyboardInterrupt


def generator_exit() -> None:
    raise GeneratorExit


def cancelled() -> None:
    raise asyncio.CancelledError("by itself")


WORST: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        unprintable,
        exiting,
        not_a_text,
        hiding,
        recursion,
        megabytes,
        half_a_surrogate,
        a_long_chain,
        a_circle,
        a_group,
        unprintable_cause,
        long_name,
        system_exit,
        interrupt,
        generator_exit,
        cancelled,
    )
}


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_whatever_a_handler_raises_its_message_is_parked_and_the_next_is_handled(
    vhost_url: str, queue_name: str, kind: str
) -> None:
    """Each message fails in its own way, each is followed by a good one: parked once with what can be told, none lost."""
    worker = Worker("worst", vhost_url)
    handled: list[str] = []

    def work(body: bytes) -> None:
        if body != b"good":
            WORST[body.decode()]()
        handled.append("good")

    if kind == "threads":

        @worker.consumer(queue_name, concurrency=2)
        def handle(body: bytes) -> None:
            work(body)

    else:

        @worker.consumer(queue_name, concurrency=2)
        async def handle_async(body: bytes) -> None:
            work(body)

    with worker:
        messages = [
            message for name in WORST for message in (Foreign(name, name.encode()), Foreign(f"after-{name}", b"good"))
        ]
        publish_foreign(vhost_url, queue_name, messages)
        until(lambda: worker.stats().parked == len(WORST) and len(handled) == len(WORST), "every message", timeout=30)
        stats = worker.stats()
        assert worker.is_ready
    assert (stats.failed, stats.parking_failed, stats.requeued, stats.abandoned) == (len(WORST), 0, 0, 0)
    parked = parked_in(vhost_url, f"{queue_name}.dead", len(WORST))
    for name in WORST:
        assert parked[name].body == name.encode()
        assert parked[name].reason == "exception"
        assert parked[name].headers[names.ORIGINAL_QUEUE] == queue_name
        assert parked[name].header_bytes < FRAME_MAX - 20
    types = {name: parked[name].headers.get(names.EXCEPTION_TYPE) for name in WORST}
    assert types["unprintable"] == f"{__name__}.UnprintableError"
    assert types["system_exit"] == "SystemExit"
    assert "é" in parked["megabytes"].headers[names.EXCEPTION_MESSAGE]
    assert "in recursion" in parked["recursion"].headers[names.EXCEPTION_TRACEBACK]
    assert remaining_in(vhost_url, queue_name) == 0


@pytest.mark.parametrize("size", [3_000, 6_500, 7_700])
def test_headers_are_shortened_until_they_fit_into_a_small_frame(vhost_url: str, queue_name: str, size: int) -> None:
    """A small frame_max and a message whose own headers nearly fill it: the traceback gives way first, the message's never."""
    settings = parse_url(vhost_url, frame_max=8192)
    worker = Worker("small-frames", settings)

    @worker.consumer(queue_name)
    def handle(body: bytes) -> None:
        recursion()

    with worker:
        publish_foreign(vhost_url, queue_name, [Foreign("one", b"body", headers={"own": "h" * size})])
        until(lambda: worker.stats().parked == 1, "the parked message", timeout=15)
        assert worker.stats().parking_failed == 0
    (parked,) = parked_in(vhost_url, f"{queue_name}.dead", 1).values()
    assert parked.headers["own"] == "h" * size
    assert parked.header_bytes <= 8192 - 20
    assert (names.EXCEPTION_TRACEBACK in parked.headers) == (size < 7_700)
