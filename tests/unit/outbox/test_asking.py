"""What looks is written once: run at once on connections that block, and awaited on the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rmqpool.outbox.asking import Ask, at_once


async def doubled(ask: Ask) -> int:
    """Something that asks twice."""
    return int((await ask("SELECT 1"))[0][0]) + int((await ask("SELECT 2", 3))[0][0])


async def blocking(sql: str, /, *parameters: Any) -> list[tuple[Any, ...]]:
    return [(len(sql) + len(parameters),)]


async def awaited(sql: str, /, *parameters: Any) -> list[tuple[Any, ...]]:
    await asyncio.sleep(0)
    return await blocking(sql, *parameters)


def test_what_blocks_and_what_is_awaited_finds_the_same() -> None:
    """Without an event loop in one case, with one in the other; also from within a coroutine."""

    async def within() -> int:
        return at_once(doubled(blocking))

    assert at_once(doubled(blocking)) == asyncio.run(doubled(awaited)) == asyncio.run(within()) == 17


def test_an_error_comes_out_as_it_is() -> None:
    """No wrapper around it."""

    async def fails(sql: str, /, *parameters: Any) -> list[tuple[Any, ...]]:
        raise KeyError(sql)

    with pytest.raises(KeyError, match="SELECT 1"):
        at_once(doubled(fails))


def test_what_would_wait_is_refused() -> None:
    """A mistake of ours must not hang, nor be forgotten in silence."""
    with pytest.raises(RuntimeError, match="event loop"):
        at_once(doubled(awaited))
