"""What is handed over as a function is one, and is not async def where nobody would await it."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from rmqpool import (
    AsyncResourcePool,
    Autoscale,
    Breaker,
    ConfigurationError,
    ConnectionPool,
    PoolManager,
    PoolTimeoutError,
    ResourcePool,
)
from rmqpool.callables import never_awaited, plain_function
from rmqpool.middlewares import CircuitBreaker

URL = "amqp://shop:s3cret@127.0.0.1/"


async def asynchronous(*_: object) -> None: ...


ASYNCHRONOUS: Any = asynchronous  # for what is typed as a plain function


class AsynchronousCall:
    async def __call__(self, *_: object) -> None: ...


@pytest.mark.parametrize("value", [asynchronous, functools.partial(asynchronous, 1), AsynchronousCall()])
@pytest.mark.parametrize("name", ["open", "close", "check", "reset", "on_event"])
def test_a_pool_for_threads_refuses_async_def(name: str, value: Any) -> None:
    """A check that nobody awaits would find every resource good, and a close would close nothing."""
    with pytest.raises(ConfigurationError, match=rf"{name} is async def"):
        ResourcePool(**{"open": object, name: value})


@pytest.mark.parametrize("name", ["open", "close", "check", "reset", "on_event"])
@pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool])
def test_what_is_no_function_is_refused_by_name(kind: Any, name: str) -> None:
    """At once, and not when it is to be called for the first time; without what may be a password."""
    with pytest.raises(ConfigurationError, match=rf"{name} is of type str") as refused:
        kind(**{"open": object, name: "postgresql://shop:s3cret@127.0.0.1/shop"})
    assert "s3cret" not in str(refused.value)


def test_a_listener_that_nobody_would_call_is_refused() -> None:
    """That of a pool for asyncio, of connections, of circuit breakers; and the function of a manager's URLs."""
    for make in (
        lambda: AsyncResourcePool(asynchronous, on_event=asynchronous),
        lambda: ConnectionPool(URL, on_event=ASYNCHRONOUS),
        lambda: Breaker("bank", on_change=ASYNCHRONOUS),
        lambda: CircuitBreaker("bank", on=OSError, on_change=ASYNCHRONOUS),
        lambda: PoolManager(ASYNCHRONOUS),
        lambda: PoolManager({"a": URL}),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError, match=r"is async def|is of type dict; give a function") as refused:
            make()
        assert "s3cret" not in str(refused.value)


def test_a_coroutine_that_comes_out_is_an_error() -> None:
    """Of a lambda nobody knows before; it is closed, so that nothing warns of it."""
    with pytest.raises(ConfigurationError, match="check returned a coroutine"):
        never_awaited("check", lambda resource: ASYNCHRONOUS(resource), object())
    assert never_awaited("check", lambda resource: False, object()) is False


def test_what_is_a_plain_function_passes() -> None:
    """Classes, methods, builtins and objects that can be called, too."""
    values: tuple[Any, ...] = (dict, print, [].append, functools.partial(print, 1), Autoscale)
    for value in values:
        plain_function("open", value)


def test_a_lambda_that_returns_a_coroutine_is_never_taken_for_a_resource_or_a_yes() -> None:
    """What it opened is no resource, and what it checked is not good."""
    with ResourcePool(lambda: ASYNCHRONOUS(), name="opening") as pool, pytest.raises(PoolTimeoutError) as refused:
        pool.acquire(timeout=0.1)
    assert "open returned a coroutine" in str(refused.value.__cause__)
    with ResourcePool(object, min_size=1, check=lambda resource: ASYNCHRONOUS(resource), name="checking") as pool:
        pool.open(wait=True, timeout=30)
        assert pool.check(timeout=30) == 1
