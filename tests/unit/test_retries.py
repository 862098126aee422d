"""Calls that are made again: within one deadline, with jitter, and never twice what may have been done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmqpool import Backoff, Retrying, retrying
from rmqpool.errors import (
    CircuitOpenError,
    ConfigurationError,
    NotSentError,
    ReplyTimeoutError,
    UnknownOutcomeError,
)

QUICK = Backoff(0.0001, 0.001)


class Script:
    """A call that raises these errors one after the other, and then gives 7."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def call(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7

    async def call_later(self) -> int:
        await asyncio.sleep(0)
        return self.call()


def by_decorator(policy: Retrying, script: Script) -> int:
    """A function."""
    return policy(script.call)()


def by_loop(policy: Retrying, script: Script) -> int:
    """A loop."""
    result = 0
    for attempt in policy:
        with attempt:
            result = script.call()
    return result


def by_coroutine(policy: Retrying, script: Script) -> int:
    """A coroutine function."""
    return asyncio.run(policy(script.call_later)())  # type: ignore[arg-type]


def by_async_loop(policy: Retrying, script: Script) -> int:
    """A loop of a coroutine."""

    async def run() -> int:
        result = 0
        async for attempt in policy:
            with attempt:
                result = await script.call_later()
        return result

    return asyncio.run(run())


def by_coroutine_behind(policy: Retrying, script: Script) -> int:
    """A coroutine function that another decorator hides."""
    return asyncio.run(policy(lambda: script.call_later())())  # type: ignore[arg-type]


def by_methods(policy: Retrying, script: Script) -> int:
    """A class method."""

    class Shop:
        @policy
        @classmethod
        def order(cls) -> tuple[type, int]:
            return cls, script.call()

    shop, result = Shop().order()
    assert shop is Shop
    return result


WAYS = pytest.mark.parametrize(
    "way", [by_decorator, by_loop, by_coroutine, by_async_loop, by_coroutine_behind, by_methods]
)
Way = Callable[[Retrying, Script], int]


@WAYS
def test_what_was_not_done_is_done_again(way: Way) -> None:
    """Until it works."""
    script = Script(NotSentError("x"), NotSentError("x"))
    assert way(retrying(deadline=60, backoff=QUICK), script) == 7
    assert script.calls == 3


@WAYS
def test_the_last_error_comes_out_as_it_is_with_a_note(way: Way) -> None:
    """The same object, after as many attempts as were allowed."""
    errors = [NotSentError(str(number)) for number in range(9)]
    script = Script(*errors)
    with pytest.raises(NotSentError) as failed:
        way(retrying(deadline=60, attempts=4, backoff=QUICK), script)
    assert failed.value is errors[3]
    assert script.calls == 4
    assert failed.value.__notes__[0].startswith("given up after 4 attempts in ")


@WAYS
@pytest.mark.parametrize("on", [None, Exception, UnknownOutcomeError.__mro__[1], lambda error: True])
def test_what_may_have_been_done_is_not_done_twice(way: Way, on: Any) -> None:
    """Whatever the choice; unless the caller says that twice is as good as once."""
    script = Script(UnknownOutcomeError("x"))
    with pytest.raises(UnknownOutcomeError):
        way(retrying(deadline=60, on=on, backoff=QUICK), script)
    assert script.calls == 1
    assert way(retrying(deadline=60, on=on, backoff=QUICK, idempotent=True), Script(UnknownOutcomeError("x"))) == 7


@WAYS
def test_what_is_not_chosen_comes_out_at_once(way: Way) -> None:
    """Without a note: it was tried once."""
    script = Script(ValueError("mine"))
    with pytest.raises(ValueError, match="mine") as failed:
        way(retrying(deadline=60, backoff=QUICK), script)
    assert script.calls == 1
    assert not hasattr(failed.value, "__notes__")


@WAYS
def test_no_pause_goes_beyond_the_deadline(way: Way) -> None:
    """A pause that would is not begun: the error comes at once, not at the deadline."""
    script = Script(CircuitOpenError("x", name="bank", retry_after=3000))
    began = time.monotonic()
    with pytest.raises(CircuitOpenError):
        way(retrying(deadline=2000, backoff=QUICK), script)
    assert time.monotonic() - began < 1000
    assert script.calls == 1


@WAYS
def test_a_breaker_is_asked_again_when_it_may_pass(way: Way) -> None:
    """The pause is at least the breaker's."""
    script = Script(CircuitOpenError("x", name="bank", retry_after=0.2))
    began = time.monotonic()
    assert way(retrying(deadline=60, backoff=QUICK), script) == 7
    assert time.monotonic() - began >= 0.2


@WAYS
def test_what_is_no_exception_ends_the_attempts(way: Way) -> None:
    """Ctrl-C is Ctrl-C."""
    script = Script(SystemExit(3))
    with pytest.raises(SystemExit):
        way(retrying(deadline=60, on=BaseException, backoff=QUICK), script)
    assert script.calls == 1


@settings(max_examples=20)
@given(st.lists(st.booleans(), max_size=12), st.integers(1, 12))
def test_the_attempts_are_counted(fails: list[bool], attempts: int) -> None:
    """It works with the first that works, or ends with the last that is allowed."""
    script = Script(*(NotSentError("x") for _ in fails))
    try:
        assert by_loop(retrying(deadline=600, attempts=attempts, backoff=Backoff(1e-6, 1e-5)), script) == 7
    except NotSentError:
        assert len(fails) >= attempts
    assert script.calls == min(len(fails) + 1, attempts)


def test_an_attempt_knows_what_remains() -> None:
    """One deadline over all: what remains only shrinks, and fits any timeout."""
    remaining = []
    numbers = []
    for attempt in retrying(deadline=50, attempts=3, backoff=Backoff(0.02, 0.02), on=ValueError):
        with attempt:
            remaining.append(attempt.remaining)
            numbers.append(attempt.number)
            if attempt.number < 3:
                raise ValueError
    assert numbers == [1, 2, 3]
    assert 50 >= remaining[0] >= remaining[1] >= remaining[2] > 0


def test_a_cancelled_task_is_not_tried_again() -> None:
    """Neither in an attempt nor in a pause."""

    async def run(script: Script) -> None:
        started = asyncio.Event()

        @retrying(deadline=600, on=Exception, backoff=Backoff(500, 500))
        async def call() -> None:
            started.set()
            await script.call_later()
            await asyncio.Event().wait()

        task = asyncio.create_task(call())
        await started.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)

    for script in (Script(), Script(ValueError("then a pause"))):
        asyncio.run(run(script))
        assert script.calls == 1


def test_one_policy_serves_many_tasks_at_once() -> None:
    """Each loop counts for itself."""
    policy = retrying(deadline=60, attempts=3, backoff=QUICK)
    scripts = [Script(*(NotSentError("x") for _ in range(number % 4))) for number in range(40)]

    async def run() -> list[Any]:
        return await asyncio.gather(*(policy(script.call_later)() for script in scripts), return_exceptions=True)

    ends = asyncio.run(run())
    for number, end in enumerate(ends):
        assert (end == 7) if number % 4 < 3 else isinstance(end, NotSentError)


def test_a_loop_without_its_block_is_told_so() -> None:
    """Or it would never end."""
    with pytest.raises(ConfigurationError, match="with attempt"):
        for _ in retrying(deadline=60):
            pass

    async def run() -> None:
        async for _ in retrying(deadline=60):
            pass

    with pytest.raises(ConfigurationError, match="with attempt"):
        asyncio.run(run())


def test_a_loop_may_be_left() -> None:
    """By break, in the block or in coroutines."""
    for attempt in retrying(deadline=60):
        with attempt:
            break

    async def run() -> int:
        async for attempt in retrying(deadline=60):
            with attempt:
                return 3
        return 4

    assert asyncio.run(run()) == 3


def test_failed_attempts_are_logged_without_their_texts(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is to wonder why a call takes so long; a text may hold a secret."""
    with caplog.at_level("INFO"):
        by_loop(retrying(deadline=60, backoff=QUICK), Script(NotSentError("amqp://user:hunter2@host")))
    assert "attempt 1 failed (NotSentError); the next one in" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_cannot_be_called_is_refused() -> None:
    """Where it is decorated."""
    with pytest.raises(ConfigurationError, match="is no function"):
        retrying()(property(lambda self: 1))  # type: ignore[arg-type]


def test_generators_are_refused() -> None:
    """Calling one does nothing yet."""

    def rows() -> Iterator[int]:
        yield 1

    async def later_rows() -> AsyncIterator[int]:
        yield 1

    for function in (rows, later_rows):
        with pytest.raises(ConfigurationError, match="rows is a generator"):
            retrying()(function)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deadline": 0}, "deadline"),
        ({"deadline": None}, "deadline"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"on": "ValueError"}, "retrying: on is"),
        ({"on": (OSError, UnknownOutcomeError)}, "UnknownOutcomeError.*idempotent=True"),
        ({"on": ReplyTimeoutError}, "ReplyTimeoutError.*idempotent=True"),
        ({"backoff": 3}, "give a Backoff"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    """With what to give instead; a choice that would silently never be followed is refused, too."""
    with pytest.raises(ConfigurationError, match=words):
        retrying(**options)


def test_repr_tells_the_bounds() -> None:
    """In seconds and attempts."""
    assert repr(retrying(deadline=5, attempts=3)) == "<Retrying within 5 s, at most 3 attempts>"


def test_it_may_be_put_above_a_function_without_parentheses() -> None:
    """@retrying is @retrying(): for functions, coroutine functions and methods of classes."""
    outcomes: list[Exception | None] = [NotSentError("x"), None]

    @retrying
    def place(number: int) -> int:
        """Documented."""
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome
        return number

    assert place(7) == 7
    assert place.__doc__ == "Documented."
    with pytest.raises(ConfigurationError, match="is no function"):
        retrying(7)  # type: ignore[call-overload]
