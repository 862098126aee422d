"""What is no hook is refused where it is given."""

from __future__ import annotations

from typing import Any

import pytest

from rmqpool import Delivery, Middleware, Publisher, RetryPolicy, Worker
from rmqpool.errors import ConfigurationError
from rmqpool.middlewares import CircuitBreaker, Idempotency, InMemoryIdempotencyStore


class Guard(Middleware):
    """Its check would never run."""

    async def before_handle(self, delivery: Delivery) -> Any:
        raise PermissionError


@pytest.mark.parametrize(
    "give",
    [
        lambda guard: Worker("shop", middleware=[guard]),
        lambda guard: Worker("shop").consumer("orders", middleware=[guard])(lambda body: None),
        lambda guard: Publisher("amqp://nobody:x@127.0.0.1:1/", middleware=[guard]),
    ],
)
def test_a_hook_that_is_async_def_is_refused(give: Any) -> None:
    """Nobody awaits it: messages would pass a check that was never made."""
    with pytest.raises(ConfigurationError, match=r"Guard\.before_handle is async def, and would never run"):
        give(Guard())


class RemoteStore(InMemoryIdempotencyStore):
    """What it knows would come too late."""

    async def begin(self, key: str) -> Any:  # type: ignore[override]
        return super().begin(key)


async def _decide(value: object) -> bool:
    """A coroutine is always true, and equal to no other."""
    return False


decide: Any = _decide


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy(on=decide),
        lambda: CircuitBreaker("bank", on=decide),
        lambda: Idempotency(key=decide),
        lambda: Idempotency(RemoteStore()),
        lambda: Worker("shop").consumer("orders", key=decide)(lambda body: None),
    ],
)
def test_a_question_that_is_async_def_is_refused(make: Any) -> None:
    """Nobody awaits its answer."""
    with pytest.raises(ConfigurationError, match=r"plain function|must answer at once"):
        make()
