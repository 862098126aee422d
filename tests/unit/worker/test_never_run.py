"""What a handler returned, when it is something that would still have to run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rmqpool.errors import WorkerError
from rmqpool.worker.never_run import finished


async def work() -> None: ...


async def stream() -> Any:
    yield 1


def generate() -> Any:
    yield 1


@pytest.mark.parametrize("function", [work, stream, generate])
def test_what_never_ran_is_an_error_that_names_it(function: Any) -> None:
    """And Python has nothing to warn of."""
    with pytest.raises(WorkerError, match=rf"{function.__name__}\(…\), which never ran, so nothing was done"):
        finished(function())


@pytest.mark.parametrize("result", [None, 0, "text", [1], {"a": 1}, object(), work])
def test_any_other_result_stays_what_it_is(result: object) -> None:
    """It may be a reply."""
    assert finished(result) is result


def test_a_task_runs_by_itself() -> None:
    """Whoever returns one knows that nobody waits for it."""

    async def start() -> None:
        task = asyncio.ensure_future(work())
        assert finished(task) is task
        await task

    asyncio.run(start())
