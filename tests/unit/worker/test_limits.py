"""Executors and limits: what is asked for can be kept, or is refused when the handler is registered."""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any

import pytest

from rmqpool import Delivery, Worker
from rmqpool.errors import ConfigurationError, TimeLimitExceededError
from rmqpool.worker.handlers import inspect_handler
from rmqpool.worker.limits import Limits, with_time_limit


def handler(body: dict) -> None: ...


def settling(body: dict, delivery: Delivery) -> None: ...


async def later(body: dict) -> None: ...


class Callable:
    """An object that is called."""

    def __call__(self, body: dict) -> None: ...

    def method(self, body: dict) -> None: ...

    @classmethod
    def of_the_class(cls, body: dict) -> None: ...

    @staticmethod
    def static(body: dict) -> None: ...


def register(function: Any, **options: Any) -> Any:
    """What a worker made of it."""
    worker = Worker("orders")
    worker.consumer("orders", **options)(function)
    return worker.consumers[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"executor": "fork"}, "'thread' or 'process'"),
        ({"time_limit": 0}, "more than 0"),
        ({"time_limit": float("nan")}, "more than 0"),
        ({"hard_time_limit": True}, "more than 0"),
        ({"time_limit": 10, "hard_time_limit": 10}, "the exception comes first"),
        ({"recycle_after": 0}, "whole number"),
        ({"memory_limit": 1.5e9}, "whole number"),
        ({"poison_after": 0}, "whole number"),
        ({"ack": "manual"}, "where no channel is"),
    ],
)
def test_wrong_limits_are_refused(options, said):
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=said):
        register(settling, **{"executor": "process", **options})


@pytest.mark.parametrize("name", ["hard_time_limit", "recycle_after", "memory_limit", "poison_after"])
@pytest.mark.parametrize("function", [handler, later])
def test_what_only_a_process_can_keep_is_refused_elsewhere(function, name):
    """A limit that nobody keeps would be a lie."""
    with pytest.raises(ConfigurationError, match="add executor='process'"):
        register(function, **{name: 5})


def test_a_thread_has_no_time_limit():
    """Nobody can interrupt it; a coroutine can be cancelled."""
    with pytest.raises(ConfigurationError, match="make it async def"):
        register(handler, time_limit=5)
    assert register(later, time_limit=5).limits.time_limit == 5


def test_a_coroutine_function_needs_no_thread():
    """It runs on the loop, or in a process."""
    with pytest.raises(ConfigurationError, match="leave executor='thread' out"):
        register(later, executor="thread")
    assert register(later, executor="process").executor == "process"
    assert register(handler).executor == register(handler, executor="thread").executor == "thread"


def test_an_inbox_stays_with_its_transaction():
    """Which cannot travel into another process."""

    class Inbox:
        is_async = False
        consumer = None

        def open(self, concurrency: int) -> None: ...

        def transaction(self, consumer: str, message_id: str) -> Any: ...

        def close(self) -> None: ...

    with pytest.raises(ConfigurationError, match="cannot travel"):
        register(handler, executor="process", inbox=Inbox())


@pytest.mark.parametrize(
    "function",
    [lambda body: None, functools.partial(handler), Callable(), Callable().method],
    ids=["lambda", "partial", "object", "method"],
)
def test_a_function_that_no_child_could_find_is_refused(function):
    """As soon as it is registered."""
    with pytest.raises(ConfigurationError, match="cannot be found by a child process"):
        register(function, executor="process")


def test_a_function_inside_a_function_is_refused():
    """Its name leads nowhere."""

    def local(body: dict) -> None: ...

    with pytest.raises(ConfigurationError, match="inside another function"):
        register(local, executor="process")


@pytest.mark.parametrize("function", [Callable.static, Callable.of_the_class])
def test_functions_of_a_class_are_found(function):
    """By their qualified name."""
    assert register(function, executor="process").executor == "process"


def test_a_handler_at_the_prompt_is_refused(monkeypatch):
    """There is no file that a child could import."""
    monkeypatch.setattr(handler, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(ConfigurationError, match="move it into a module"):
        register(handler, executor="process")


def test_the_kill_comes_after_the_exception():
    """Ten seconds later, if nothing else is said; never without a limit."""
    assert Limits(time_limit=5).kills_after == 15
    assert Limits(time_limit=5, hard_time_limit=6).kills_after == 6
    assert Limits().kills_after is None
    assert (Limits().deaths, Limits(poison_after=5).deaths) == (2, 5)


def test_the_time_limit_of_a_coroutine_tells_who_was_late():
    """A TimeoutError of the handler's own stays one, and a cancellation from outside stays a cancellation."""

    async def handle(how: str) -> str:
        if how == "own":
            raise TimeoutError("its own")
        await asyncio.sleep(60 if how == "slow" else 0)
        return how

    limited = with_time_limit(inspect_handler(handle, ["application/json"]), 0.05).function
    assert asyncio.run(limited("quick")) == "quick"
    with pytest.raises(TimeLimitExceededError, match=r"0\.05 s"):
        asyncio.run(limited("slow"))
    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(limited("own"))
