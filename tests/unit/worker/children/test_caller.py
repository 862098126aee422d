"""The function that stands in a handler's place, with real child processes and without a broker."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rmqpool import Delivery, Retry, Skip
from rmqpool.codecs import DEFAULT_ACCEPT, EncodedBody
from rmqpool.core.disposition import Ended
from rmqpool.errors import DecodeError, TimeLimitExceededError, WorkerError
from rmqpool.testing.waiting import wait_until
from rmqpool.worker.children.caller import ChildCaller
from rmqpool.worker.children.protocol import job_of
from rmqpool.worker.failure import ChildError, Failure, as_raised
from rmqpool.worker.limits import Limits
from rmqpool.worker.registration import define
from rmqpool.worker.stats import Counters
from tests.unit.worker.children.handlers import CRASHED, WrongError, handle

MakeCaller = Callable[..., ChildCaller]


def delivery_of(body: str, message_id: str | None = "m-1", **properties: Any) -> Delivery:
    """A delivery that waits for an answer."""
    fields = {"reply_to": "answers", **properties}
    return Delivery(body.encode(), "", "orders", 1, False, "orders", message_id=message_id, **fields)


@pytest.fixture
def make() -> Iterator[MakeCaller]:
    """Makes callers of `handle`; every child must be gone at the end."""
    made: list[ChildCaller] = []

    def build(current: Callable[[Delivery], bool] = lambda delivery: True, **limits: Any) -> ChildCaller:
        definition = define(
            handle,
            "orders",
            concurrency=1,
            prefetch=None,
            declared_as=None,
            on_error="park",
            ack="auto",
            accept=DEFAULT_ACCEPT,
            redeclare=True,
            executor="process",
            limits=Limits(**limits),
        )
        caller = ChildCaller(definition, Counters(), "test", current)
        caller.counters = vars(caller)["_count"].__self__  # type: ignore[attr-defined]
        made.append(caller)
        caller.start()
        return caller

    yield build
    for caller in made:
        assert caller.stop(2.0)


def call(caller: ChildCaller, body: str, message_id: str | None = "m-1", **properties: Any) -> Any:
    """As a thread of the consumer does; the decoded reply."""
    delivery = delivery_of(body, message_id, **properties)
    result = caller.call(delivery, job_of(delivery))
    return json.loads(result.body) if isinstance(result, EncodedBody) else result


def counted(caller: ChildCaller, name: str) -> int:
    """A counter."""
    count: int = caller.counters.values()[name]  # type: ignore[attr-defined]
    return count


def test_a_value_comes_back_to_whoever_waits_for_an_answer(make):
    """Encoded in the child, or with why it cannot be; and nobody pays for one that nobody waits for."""
    caller = make()
    assert call(caller, "pid", timestamp=5)["at"] == 5
    assert call(caller, "pid", reply_to=None) is None
    request = delivery_of("price")
    assert caller.call(request, job_of(request)) == EncodedBody(b'{"cents":250}', "application/json", "utf-8")
    assert caller.call(request, job_of(request, answers=False)) is None  # another consumer answers
    failed = call(caller, "lambda")
    assert isinstance(failed, ChildError)
    assert failed.failure.reason == "reply:encode"
    assert "function" in failed.failure.message
    assert call(caller, "lambda", reply_to=None) is None


def test_whoever_looks_at_the_end_of_a_handling_sees_what_was_raised(make):
    """Middleware gets an exception of the class that tells most."""
    caller = make(hard_time_limit=0.3, poison_after=2)
    kinds: dict[str, type[BaseException]] = {
        "wrong price": WrongError,
        "sleep 60": TimeLimitExceededError,
        "crash": WorkerError,
    }
    for number, (body, kind) in enumerate(kinds.items()):
        with pytest.raises(ChildError) as caught:
            call(caller, body, f"m-{number}")
        assert type(as_raised(caught.value)) is kind
    undecodable = as_raised(ChildError(Ended.UNDECODABLE, Failure("decode:corrupt", message="no JSON")))
    assert isinstance(undecodable, DecodeError)
    assert (undecodable.reason, str(undecodable)) == ("corrupt", "no JSON")
    assert isinstance(as_raised(ChildError(Ended.CANCELLED, Failure("stopped"))), asyncio.CancelledError)
    mine = ValueError()
    assert as_raised(mine) is mine


def test_what_was_raised_is_told_with_a_class_that_is_known_here(make):
    """Retry policies look at classes: the nearest base has to do for one that only the child knows."""
    caller = make()
    for body in ("wrong price", "hidden price"):
        with pytest.raises(ChildError) as caught:
            call(caller, body)
        assert caught.value.kind is WrongError
        assert (caught.value.ended, caught.value.failure.message) == (Ended.FAILED, "price")
        assert isinstance(caught.value.stand_in(), WrongError)
        assert str(caught.value.stand_in()) == "price"
    with pytest.raises(Skip, match="known"):
        call(caller, "skip known")
    with pytest.raises(Retry) as asked:
        call(caller, "retry later")
    assert (asked.value.reason, asked.value.delay) == ("later", 2.5)


def test_a_child_that_dies_between_two_messages_is_no_ones_fault(make):
    """The next message gets another one, and nothing is counted against it."""
    caller = make(poison_after=1)
    os.kill(call(caller, "pid")["pid"], signal.SIGKILL)
    assert call(caller, "pid")["pid"]
    assert (counted(caller, "children_died"), counted(caller, "poisoned")) == (1, 0)


def test_deaths_are_counted_over_deliveries_of_one_message(make):
    """One that came again kills no more than one that was kept; without an id each delivery counts for itself."""
    stale = make(lambda delivery: False, poison_after=2)
    for message_id, ends in (("m-1", [Ended.CANCELLED, Ended.POISONED]), (None, [Ended.CANCELLED, Ended.CANCELLED])):
        for ended in ends:
            with pytest.raises(ChildError) as caught:
                call(stale, "crash", message_id)
            assert caught.value.ended is ended
    assert counted(stale, "poisoned") == 1
    with pytest.raises(ChildError) as caught:
        call(stale, "crash", "m-1")
    assert caught.value.ended is Ended.POISONED  # it was stale when it was to be parked, and came again


def test_a_message_that_was_handled_at_last_starts_anew(make, tmp_path):
    """Its deaths are forgotten."""
    caller = make(lambda delivery: False, poison_after=2)
    mark = tmp_path / "mark"
    with pytest.raises(ChildError):
        call(caller, f"crash-until {mark}")
    mark.touch()
    call(caller, f"crash-until {mark}")
    mark.unlink()
    with pytest.raises(ChildError) as caught:
        call(caller, f"crash-until {mark}")
    assert caught.value.ended is Ended.CANCELLED


def test_poison_is_told_with_what_killed_the_children(make):
    """As reason, and in a sentence."""
    caller = make(poison_after=3)
    with pytest.raises(ChildError) as caught:
        call(caller, "crash")
    assert (caught.value.ended, caught.value.failure.reason) == (Ended.POISONED, f"poison:exit code {CRASHED}")
    assert "died of exit code 7" in caught.value.failure.message
    assert counted(caller, "children_died") == 3


def test_whoever_writes_to_the_log_for_ever_is_killed_as_well(make, caplog):
    """The hard limit does not wait for silence."""
    caplog.set_level(logging.CRITICAL)
    logging.getLogger("chatter").setLevel(logging.ERROR)
    caller = make(hard_time_limit=0.5)
    start = time.monotonic()
    with pytest.raises(ChildError) as caught:
        call(caller, "chatter")
    assert (caught.value.ended, caught.value.failure.reason) == (Ended.FAILED, "time-limit:hard")
    assert caught.value.kind is TimeLimitExceededError
    assert time.monotonic() - start < 3


def test_recycling_changes_the_process_between_messages(make):
    """Never in the middle; the next one is ready by then."""
    caller = make(recycle_after=2)
    pids = [call(caller, "pid")["pid"] for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_a_stop_gives_back_what_runs(make):
    """Killed, not counted as a death, and not tried again."""
    caller = make()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call(caller, "sleep 60")
        except ChildError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: any(child.busy for child in caller._starter._children()), "it to begin", timeout=5)
    caller.kill_busy()
    thread.join(5)
    assert [error.ended for error in raised if isinstance(error, ChildError)] == [Ended.CANCELLED]
    assert counted(caller, "children_died") == 0
    with pytest.raises(ChildError):
        call(caller, "pid")


def test_stopping_twice_and_without_a_start_is_fine(make):
    """A worker that could not start is stopped too."""
    caller = make()
    assert caller.stop(1.0)
    assert caller.stop(1.0)
