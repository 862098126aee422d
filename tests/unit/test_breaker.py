"""A circuit breaker around calls: as decorator, with `with` and `async with`; who is refused, who is told, who may probe."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from rmqpool import Backoff, Breaker, BreakerPolicy, BreakerState, CircuitOpenError, ConfigurationError
from rmqpool.core.breaker import Pass, Refusal
from rmqpool.testing.waiting import wait_until
from tests.interrupts import interrupts

LONG = BreakerPolicy(minimum=3, pause=Backoff(600, 600))
SHORT = BreakerPolicy(failure_rate=1, minimum=3, pause=Backoff(0.01, 0.01), jitter=0)


class Down(Exception):
    """The dependency is down."""


def fail(breaker: Breaker, times: int = 3) -> None:
    """The dependency fails so often."""
    for _ in range(times):
        with pytest.raises(Down), breaker:
            raise Down


def opened(policy: BreakerPolicy = LONG, **options: Any) -> Breaker:
    """A breaker that is open."""
    breaker = Breaker("bank", on=Down, policy=policy, **options)
    fail(breaker)
    assert breaker.state is BreakerState.OPEN
    return breaker


def wait_for_probe(breaker: Breaker) -> None:
    """The pause is over."""
    wait_until(lambda: breaker.stats().retry_after == 0, "the end of the pause", timeout=30)


def test_calls_pass_and_errors_come_out_as_they_are() -> None:
    """Closed, it is not noticed."""
    breaker = Breaker("bank", on=Down)

    @breaker
    def pay(amount: int, *, to: str) -> str:
        """Pays."""
        return f"{amount} to {to}"

    assert pay(7, to="ada") == "7 to ada"
    assert (pay.__name__, pay.__doc__) == ("pay", "Pays.")
    fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED


def test_an_open_breaker_refuses_at_once_and_says_for_how_long() -> None:
    """With the dependency's name and the class of its last error, without that error's text."""
    breaker = opened()
    with pytest.raises(CircuitOpenError) as refused, breaker:
        pytest.fail("it was called")
    assert refused.value.name == "bank"
    assert 500 < refused.value.retry_after <= 600
    assert "bank was not called: its circuit breaker is open, for it failed with Down; ask again in" in str(
        refused.value
    )


def by_decorator(breaker: Breaker, error: BaseException | None) -> None:
    """A call of a function."""

    @breaker
    def call() -> None:
        if error is not None:
            raise error

    call()


def by_block(breaker: Breaker, error: BaseException | None) -> None:
    """A block."""
    with breaker:
        if error is not None:
            raise error


def by_coroutine(breaker: Breaker, error: BaseException | None) -> None:
    """A call of a coroutine function."""

    @breaker
    async def call() -> None:
        await asyncio.sleep(0)
        if error is not None:
            raise error

    asyncio.run(call())


def by_coroutine_behind(breaker: Breaker, error: BaseException | None) -> None:
    """A call of a coroutine function that another decorator hides."""

    async def call() -> None:
        await asyncio.sleep(0)
        if error is not None:
            raise error

    asyncio.run(breaker(lambda: call())())


def by_methods(breaker: Breaker, error: BaseException | None) -> None:
    """A call of a class method and of a static one, with the breaker outermost."""

    class Bank:
        @breaker
        @classmethod
        def of_class(cls) -> type:
            if error is not None:
                raise error
            return cls

        @breaker
        @staticmethod
        async def static(error: BaseException | None) -> BaseException | None:
            if error is not None:
                raise error
            return error

    if error is not None:
        asyncio.run(Bank.static(error))
    assert Bank().of_class() is Bank


def by_async_block(breaker: Breaker, error: BaseException | None) -> None:
    """A block of a coroutine."""

    async def call() -> None:
        async with breaker:
            await asyncio.sleep(0)
            if error is not None:
                raise error

    asyncio.run(call())


@pytest.mark.parametrize(
    "call", [by_decorator, by_block, by_coroutine, by_coroutine_behind, by_methods, by_async_block]
)
def test_every_way_of_calling_has_the_same_life(call: Callable[[Breaker, BaseException | None], None]) -> None:
    """Closed, open, half-open with one probe, closed; and each is counted."""
    heard: list[BreakerState] = []
    breaker = Breaker("bank", on=Down, policy=SHORT, on_change=lambda state, sentence: heard.append(state))
    call(breaker, None)
    with pytest.raises(ValueError, match="mine"):
        call(breaker, ValueError("mine"))
    for _ in range(3):
        with pytest.raises(Down):
            call(breaker, Down())
    assert breaker.state is BreakerState.OPEN
    wait_for_probe(breaker)
    with pytest.raises(Down):
        call(breaker, Down())
    wait_for_probe(breaker)
    call(breaker, None)
    assert breaker.state is BreakerState.CLOSED
    figures = breaker.stats()
    assert (figures.called, figures.succeeded, figures.failed, figures.ignored) == (7, 2, 4, 1)
    assert (figures.opened, figures.retry_after, figures.reason) == (1, 0.0, "")
    assert heard == ["open", "half_open", "open", "half_open", "closed"]


def test_one_call_probes_while_the_others_are_refused() -> None:
    """Many threads ask when the pause is over: one of them gets through."""
    breaker = opened(SHORT)
    wait_for_probe(breaker)
    gate, inside, refused = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)
    waits: list[float] = []

    def ask() -> None:
        try:
            with breaker:
                inside.release()
                gate.wait(60)
        except CircuitOpenError as error:
            waits.append(error.retry_after)
            refused.release()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=60)
    for _ in range(7):
        assert refused.acquire(timeout=60)
    assert max(waits) <= 1.0  # the probe may end at any moment
    gate.set()
    for thread in threads:
        thread.join(60)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.stats().refused == 7


def test_blocks_of_many_tasks_do_not_mix() -> None:
    """A failure belongs to the task whose block it left, in whatever order they end."""
    breaker = Breaker("bank", on=Down, policy=BreakerPolicy(minimum=1000))

    async def call(number: int) -> None:
        async with breaker:
            await asyncio.sleep(0.001 * (number % 7))
            if number % 2:
                raise Down

    async def all_of_them() -> None:
        await asyncio.gather(*(call(number) for number in range(100)), return_exceptions=True)

    asyncio.run(all_of_them())
    figures = breaker.stats()
    assert (figures.called, figures.succeeded, figures.failed) == (100, 50, 50)


def test_blocks_stand_in_one_another() -> None:
    """Two breakers, and the same one twice: each end is told to its own call."""
    outer, inner = Breaker("shop", on=Down), Breaker("bank", on=Down)
    with pytest.raises(Down), outer, inner, outer:
        raise Down
    assert (outer.stats().failed, inner.stats().failed) == (2, 1)
    with outer, inner:
        pass
    assert (outer.stats().succeeded, inner.stats().succeeded) == (1, 1)


def test_a_cancelled_probe_lets_another_one_through() -> None:
    """Cancellation says nothing of the dependency, and holds nobody up."""
    breaker = opened(SHORT)
    wait_for_probe(breaker)

    async def run() -> None:
        entered = asyncio.Event()

        @breaker
        async def hang() -> None:
            entered.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await entered.wait()
        assert breaker.state is BreakerState.HALF_OPEN
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with breaker:
            pass

    asyncio.run(run())
    assert breaker.state is BreakerState.CLOSED
    assert breaker.stats().ignored == 1


def test_an_interrupted_probe_lets_another_one_through() -> None:
    """Wherever a signal handler raises: nobody waits for a probe that nobody makes, and changes are told as before."""
    policy = BreakerPolicy(minimum=1, pause=Backoff(0.0001, 0.0001), patience=600)
    told: list[BreakerState] = []
    breaker = Breaker("bank", on=Down, policy=policy, on_change=lambda state, sentence: told.append(state))

    @breaker
    def charge() -> None: ...

    def work() -> None:
        charge()

    fail(breaker, 1)
    wait_for_probe(breaker)
    places = 0
    for place in interrupts(work):
        places += 1
        if breaker.state is BreakerState.CLOSED:
            fail(breaker, 1)
        wait_until(lambda: breaker.stats().retry_after == 0, f"the end of the pause after {place}", timeout=30)
    assert places > 10
    charge()
    fail(breaker, 1)
    assert breaker.state is told[-1] is BreakerState.OPEN


def test_a_function_chooses_the_errors() -> None:
    """And if it fails itself, the error says nothing, and still comes out."""
    breaker = Breaker("bank", on=lambda error: error.code == 503, policy=LONG)  # type: ignore[attr-defined]
    for _ in range(5):
        with pytest.raises(ValueError, match="no code"), breaker:
            raise ValueError("no code")
    assert breaker.stats().ignored == 5


def test_on_change_hears_sentences_and_may_fail_or_ask_back() -> None:
    """What it raises is logged, never thrown into the call; it runs outside of every lock."""
    heard: list[tuple[str, str]] = []

    def listen(state: BreakerState, sentence: str) -> None:
        heard.append((breaker.stats().state, sentence))
        with pytest.raises(CircuitOpenError), breaker:
            pass
        raise RuntimeError("a listener that fails")

    breaker = Breaker("bank", on=Down, policy=LONG, on_change=listen)
    fail(breaker)
    assert [state for state, _ in heard] == ["open"]
    assert heard[0][1].startswith("bank fails (Down); it is tried again in ")
    assert breaker.stats().refused == 1


def test_no_text_of_an_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It may hold a password: only its class is told."""
    breaker = Breaker("bank", on=Down, policy=BreakerPolicy(minimum=1, pause=Backoff(600, 600)))
    with caplog.at_level("DEBUG"), pytest.raises(Down), breaker:
        raise Down("amqp://user:hunter2@host")
    with pytest.raises(CircuitOpenError) as refused, breaker:
        pass
    for told in (caplog.text, str(refused.value), repr(breaker), repr(breaker.stats())):
        assert "hunter2" not in told
    assert "circuit breaker bank is open: bank fails (Down)" in caplog.text


def test_repr_tells_the_state() -> None:
    """With the time until the next probe."""
    assert repr(Breaker("bank")) == "<Breaker 'bank' closed, opened 0 times>"
    assert repr(opened()).startswith("<Breaker 'bank' open, tried again in 5")


def test_what_cannot_be_called_is_refused() -> None:
    """Where it is decorated; otherwise each call would count as a failure of the dependency."""
    with pytest.raises(ConfigurationError, match="is no function"):
        Breaker("bank")(property(lambda self: 1))  # type: ignore[arg-type]


def test_generators_are_refused() -> None:
    """Calling one does nothing yet, so its failures would not be seen."""

    def rows() -> Iterator[int]:
        yield 1

    async def later_rows() -> AsyncIterator[int]:
        yield 1

    for function in (rows, later_rows):
        with pytest.raises(ConfigurationError, match="rows is a generator"):
            Breaker("bank")(function)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "name"),
        ({"name": "bank", "on": "ValueError"}, "breaker 'bank': on is"),
        ({"name": "bank", "policy": 5}, "give a BreakerPolicy"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=words):
        Breaker(**options)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_begins_closed() -> None:
    """Even if a thread of the parent held the lock at that moment."""
    breaker = opened()
    with breaker._lock:
        pid = os.fork()
        if pid == 0:
            with breaker:
                pass
            os._exit(0 if breaker.stats().called == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert breaker.state is BreakerState.OPEN


def test_a_forgotten_name_and_superfluous_parentheses_are_told_at_once() -> None:
    """@Breaker needs a name, and @bank no parentheses: the error comes where they are written, not at the first call."""
    with pytest.raises(ConfigurationError, match=r"bank = Breaker\('bank'\)"):

        @Breaker  # type: ignore[arg-type]
        def unnamed() -> None: ...

    bank = Breaker("bank")
    with pytest.raises(ConfigurationError, match="without parentheses"):

        @bank()
        def charge() -> None: ...


class TestAroundWhatHasAPaceOfItsOwn:
    """As a pool's connecting: asked before each attempt, told after it."""

    def test_an_attempt_that_was_withdrawn_leaves_the_probe_to_another(self) -> None:
        """It says nothing, neither that it failed nor that it went well."""
        breaker = Breaker("it", policy=BreakerPolicy(minimum=1, pause=Backoff(0.01, 0.01), patience=300))
        first = breaker.admit()
        assert isinstance(first, Pass)
        breaker.settle(first, ConnectionError())
        wait_until(lambda: breaker.wait() == 0, "the pause", timeout=30)
        probe = breaker.admit()
        assert isinstance(probe, Pass)
        assert probe.is_probe
        assert isinstance(breaker.admit(), Refusal)
        breaker.withdraw(probe)
        again = breaker.admit()
        assert isinstance(again, Pass)
        breaker.settle(again, None)
        assert breaker.state is BreakerState.CLOSED
        assert (breaker.stats().failed, breaker.stats().ignored, breaker.stats().succeeded) == (1, 1, 1)

    def test_a_refusal_names_why_and_when(self) -> None:
        """For a caller that does not wait for an attempt; it is counted."""
        breaker = Breaker("it", policy=BreakerPolicy(minimum=1, pause=Backoff(5, 5), jitter=0))
        attempt = breaker.admit()
        assert isinstance(attempt, Pass)
        breaker.settle(attempt, ConnectionError("secret"))
        error = breaker.refused(CircuitOpenError, "nothing is there", attempt_error := ConnectionError(), at_least=7)
        assert str(error).startswith(
            "nothing is there; the circuit breaker of it is open, for it failed with Connection"
        )
        assert "secret" not in str(error)
        assert (error.name, error.retry_after, error.__cause__) == ("it", 7, attempt_error)
        assert breaker.stats().refused == 1
