"""What a publish future promises: one outcome, every waiter woken, every callback called exactly once."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from rmqpool.errors import (
    CallTimeoutError,
    ConfigurationError,
    NotSentError,
    PublishError,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.future import QUEUED, WRITTEN, PublishFuture
from rmqpool.message import Confirmation, Message

CONFIRMED = Confirmation("id-1", "", "orders", 1)


class Owner:
    """Holds messages that were not written, as the engine does."""

    def __init__(self, on_io_thread: bool = False) -> None:
        self.lock = threading.Lock()
        self.on_io_thread = on_io_thread
        self.is_inherited = False

    def end_inherited(self, future: PublishFuture) -> None:
        future.resolve(UnknownOutcomeError("the parent's"))

    def withdraw(self, future: PublishFuture) -> bool:
        with self.lock:
            if future.state != QUEUED:
                return False
            future.claim_withdrawn()
        future.finish()
        return True

    def write(self, future: PublishFuture) -> bool:
        with self.lock:
            if future.done():
                return False
            future.state = WRITTEN
            future.attempts += 1
            return True


def make(seconds: float = 5.0, owner: Owner | None = None) -> PublishFuture:
    message = Message("", "orders", b"secret body", "id-1")
    return PublishFuture(message, b"header", time.monotonic() + seconds, True, owner or Owner())


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Threads change places as often as CPython lets them, so that races happen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def unroutable() -> UnroutableError:
    return UnroutableError("returned", message_id="id-1")


def test_a_confirmation_is_the_result() -> None:
    """And there is no exception then."""
    future = make()
    future.resolve(CONFIRMED)
    assert future.done()
    assert future.result() is CONFIRMED
    assert future.outcome(0) is CONFIRMED
    assert future.exception() is None


def test_an_error_is_raised_by_result_and_returned_by_exception() -> None:
    """Any number of times."""
    future, error = make(), unroutable()
    future.resolve(error)
    for _ in range(2):
        with pytest.raises(UnroutableError) as caught:
            future.result()
        assert caught.value is error
    assert future.exception() is error
    assert future.outcome() is error


def test_the_first_outcome_stands() -> None:
    """A confirm that comes after the deadline changes nothing."""
    future, error = make(), unroutable()
    future.resolve(error)
    future.resolve(CONFIRMED)
    assert future.exception() is error


def test_a_timeout_of_result_cancels_nothing() -> None:
    """The message goes on, and its outcome can be asked for again."""
    future = make()
    with pytest.raises(CallTimeoutError, match=r"had no outcome yet after 0\.01 s"):
        future.result(timeout=0.01)
    assert not future.done()
    assert not future.cancelled()
    future.resolve(CONFIRMED)
    assert future.result(timeout=0) is CONFIRMED


def test_asking_often_keeps_no_waiters() -> None:
    """A poller does not pile up locks."""
    future = make()
    for _ in range(5):
        with pytest.raises(CallTimeoutError):
            future.result(timeout=0)
    assert not future._waiters


def test_a_silent_engine_ends_as_not_sent_if_nothing_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds even when the I/O thread is stuck; the message is withdrawn then."""
    monkeypatch.setattr("rmqpool.future.GRACE", 0.01)
    future = make(seconds=0.01)
    with pytest.raises(NotSentError, match="I/O thread did not answer"):
        future.result()
    assert future.cancelled()


def test_a_silent_engine_ends_as_unknown_if_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can say what became of it."""
    monkeypatch.setattr("rmqpool.future.GRACE", 0.01)
    owner = Owner()
    future = make(seconds=0.01, owner=owner)
    owner.write(future)
    with pytest.raises(UnknownOutcomeError, match="I/O thread did not answer") as caught:
        future.result()
    assert caught.value.attempts == 1


def test_the_grace_is_given_once_however_many_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """publish_many asks one after the other: a stuck I/O thread must not cost each of them the grace again."""
    monkeypatch.setattr("rmqpool.future.GRACE", 0.3)
    owner = Owner()
    futures = [make(seconds=0.01, owner=owner) for _ in range(20)]
    for future in futures:
        owner.write(future)
    started = time.monotonic()
    assert all(isinstance(future.outcome(), UnknownOutcomeError) for future in futures)
    assert time.monotonic() - started < 2.0  # 20 times the grace would be 6 s


def test_in_a_forked_child_a_future_ends_at_once_wherever_it_was() -> None:
    """It may have been in the hands of the parent's I/O thread, in no list, with a lock held: nobody waits for that."""
    owner = Owner()
    future = make(seconds=30, owner=owner)
    owner.is_inherited = True
    owner.lock.acquire()  # by a thread that is not here
    assert not future.cancel()
    assert isinstance(future.outcome(timeout=5), UnknownOutcomeError)


def test_the_io_thread_never_waits_for_itself() -> None:
    """A callback that waits for another message is told at once; an outcome that is there can be asked for."""
    future = make(seconds=30, owner=Owner(on_io_thread=True))
    with pytest.raises(ConfigurationError, match="inside a callback"):
        future.result()
    future.resolve(CONFIRMED)
    assert future.result() is CONFIRMED


def test_an_unwritten_message_can_be_withdrawn() -> None:
    """Then result raises CancelledError, and a later outcome changes nothing."""
    future = make()
    assert future.cancel()
    assert future.cancel()
    future.resolve(CONFIRMED)
    assert future.done()
    assert future.cancelled()
    with pytest.raises(CancelledError, match="withdrawn before it was written"):
        future.result()


def test_a_written_message_cannot_be_withdrawn() -> None:
    """And nothing changes by the attempt."""
    owner = Owner()
    future = make(owner=owner)
    owner.write(future)
    assert not future.cancel()
    assert not future.done()
    future.resolve(CONFIRMED)
    assert not future.cancel()
    assert future.result() is CONFIRMED


def test_withdrawing_wakes_whoever_waits() -> None:
    """A waiter is never left behind."""
    future = make()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            future.result()
        except CancelledError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    future.cancel()
    thread.join(5)
    assert len(caught) == 1


def test_a_callback_added_before_is_called_once_with_the_future() -> None:
    """In the order in which they were added."""
    future, calls = make(), list[tuple[str, PublishFuture]]()
    future.add_done_callback(lambda done: calls.append(("first", done)))
    future.add_done_callback(lambda done: calls.append(("second", done)))
    assert calls == []
    future.resolve(CONFIRMED)
    future.resolve(CONFIRMED)
    assert calls == [("first", future), ("second", future)]


def test_a_callback_added_afterwards_is_called_at_once() -> None:
    """Also after a withdrawal."""
    future, calls = make(), list[PublishFuture]()
    future.cancel()
    future.add_done_callback(calls.append)
    assert calls == [future]


def test_a_callback_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the others are called, and the outcome stands."""
    future, calls = make(), list[PublishFuture]()

    def fail(_: PublishFuture) -> None:
        raise RuntimeError("oops")

    future.add_done_callback(fail)
    future.add_done_callback(calls.append)
    with caplog.at_level(logging.ERROR, logger="rmqpool"):
        future.resolve(CONFIRMED)
    assert calls == [future]
    assert future.result() is CONFIRMED
    assert "a done callback" in caplog.text
    assert "oops" in caplog.text


def test_its_repr_tells_the_state_and_not_the_body() -> None:
    """Bodies may be secret."""
    owner = Owner()
    future = make(owner=owner)
    assert "queued" in repr(future)
    owner.write(future)
    assert "written" in repr(future)
    future.resolve(unroutable())
    assert "returned" in repr(future)
    assert "secret" not in repr(future)


def test_no_waiter_misses_an_outcome_that_comes_in_the_same_moment(busy_switching: None) -> None:
    """Twelve threads wait for each of 300 futures while another thread resolves them: nobody waits for a timeout."""
    futures = [make(seconds=20) for _ in range(300)]
    barrier = threading.Barrier(13)
    slow: list[float] = []
    outcomes: list[Confirmation | PublishError] = []

    def wait() -> None:
        barrier.wait(10)
        for future in futures:
            began = time.monotonic()
            outcomes.append(future.outcome(10))
            if time.monotonic() - began > 5:
                slow.append(time.monotonic() - began)

    threads = [threading.Thread(target=wait) for _ in range(12)]
    for thread in threads:
        thread.start()
    barrier.wait(10)
    for future in futures:
        future.resolve(CONFIRMED)
    for thread in threads:
        thread.join(20)
    assert len(outcomes) == 12 * 300
    assert slow == []


def test_an_outcome_that_comes_just_before_the_waiter_is_known_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiter looks once more after it has entered the list."""
    future = make(seconds=20)

    class ResolvesFirst:
        def __enter__(self) -> None:
            future.resolve(CONFIRMED)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("rmqpool.future._WAITERS", ResolvesFirst())
    began = time.monotonic()
    assert future.result(timeout=10) is CONFIRMED
    assert time.monotonic() - began < 5


def test_callbacks_racing_with_the_outcome_are_called_exactly_once(busy_switching: None) -> None:
    """Four threads add callbacks to each of 400 futures while another one resolves it."""
    futures = [make(seconds=20) for _ in range(400)]
    barrier = threading.Barrier(5)
    calls: list[tuple[int, int]] = []

    def add(number: int) -> None:
        barrier.wait(10)
        for index, future in enumerate(futures):
            future.add_done_callback(lambda _, key=(number, index): calls.append(key))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait(10)
    for future in futures:
        future.resolve(CONFIRMED)
    for thread in threads:
        thread.join(20)
    assert len(calls) == len(set(calls)) == 4 * 400


def test_withdrawing_races_with_writing_and_one_of_them_wins(busy_switching: None) -> None:
    """A message is either withdrawn or written, never both and never neither."""
    owner = Owner()
    futures = [make(seconds=20, owner=owner) for _ in range(2000)]
    barrier = threading.Barrier(2)
    withdrawn: list[bool] = []

    def cancel() -> None:
        barrier.wait(10)
        withdrawn.extend(future.cancel() for future in futures)

    thread = threading.Thread(target=cancel)
    thread.start()
    barrier.wait(10)
    written = [owner.write(future) for future in futures]
    thread.join(20)
    assert [first is not second for first, second in zip(withdrawn, written, strict=True)] == [True] * 2000
