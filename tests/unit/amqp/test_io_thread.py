"""What the I/O thread promises: functions run in order on one thread, errors are contained, and it ends when told."""

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from rmqpool.amqp.io_thread import IOThread


@pytest.fixture
def faults() -> list[BaseException]:
    return []


@pytest.fixture
def io_thread(faults: list[BaseException]) -> Iterator[IOThread]:
    thread = IOThread("io under test", faults.append)
    thread.start()
    yield thread
    thread.stop()
    assert thread.join(5)


def run_on(thread: IOThread, function: Callable[[], object]) -> object:
    """Run it there and return what it returns."""
    done, answers = threading.Event(), list[object]()

    def run() -> None:
        answers.append(function())
        done.set()

    assert thread.post(run)
    assert done.wait(5)
    return answers[0]


def test_functions_run_on_the_one_thread(io_thread: IOThread) -> None:
    """And it knows itself."""
    assert run_on(io_thread, lambda: threading.current_thread().name) == "io under test"
    assert run_on(io_thread, lambda: io_thread.is_current) is True
    assert io_thread.is_current is False


def test_functions_of_one_thread_run_in_the_order_posted(io_thread: IOThread) -> None:
    """Nothing overtakes."""
    order: list[int] = []
    for number in range(500):
        io_thread.post(lambda number=number: order.append(number))
    run_on(io_thread, lambda: None)
    assert order == list(range(500))


def test_no_function_is_lost_under_many_posters(io_thread: IOThread) -> None:
    """Sixteen threads post 500 functions each."""
    seen: list[tuple[int, int]] = []

    def post(poster: int) -> None:
        for number in range(500):
            io_thread.post(lambda key=(poster, number): seen.append(key))

    threads = [threading.Thread(target=post, args=(poster,)) for poster in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    run_on(io_thread, lambda: None)
    assert len(seen) == len(set(seen)) == 16 * 500
    for poster in range(16):
        assert [number for own, number in seen if own == poster] == list(range(500))


def test_an_error_is_contained_and_reported(
    io_thread: IOThread, faults: list[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The thread goes on."""
    error = RuntimeError("oops")

    def fail() -> None:
        raise error

    with caplog.at_level(logging.ERROR, logger="rmqpool"):
        io_thread.post(fail)
        assert run_on(io_thread, lambda: "alive") == "alive"
    assert faults == [error]
    assert "was contained" in caplog.text


def test_an_error_that_escapes_pikas_loop_gets_a_new_loop(
    io_thread: IOThread, faults: list[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """What was posted runs on the new one."""
    before = io_thread.loop

    def fail() -> None:
        raise RuntimeError("inside pika")

    with caplog.at_level(logging.ERROR, logger="rmqpool"):
        io_thread.loop.add_callback_threadsafe(fail)
        assert run_on(io_thread, lambda: None) is None
        assert run_on(io_thread, lambda: io_thread.loop is not before) is True
    assert [str(fault) for fault in faults] == ["inside pika"]


def test_a_timer_fires_once(io_thread: IOThread) -> None:
    """After its delay, on the thread."""
    fired = threading.Event()
    run_on(io_thread, lambda: io_thread.call_later(0.01, fired.set))
    assert fired.wait(5)


def test_a_cancelled_timer_never_fires(io_thread: IOThread) -> None:
    """Cancelling twice is fine."""
    fired: list[str] = []
    later = threading.Event()

    def arm() -> None:
        timer = io_thread.call_later(0.01, lambda: fired.append("cancelled"))
        io_thread.call_later(0.05, later.set)
        timer.cancel()
        timer.cancel()

    run_on(io_thread, arm)
    assert later.wait(5)
    assert fired == []


def test_what_was_posted_before_the_end_still_runs() -> None:
    """stop() comes last."""
    thread, ran = IOThread("ending", lambda error: None), list[int]()
    for number in range(10):
        thread.post(lambda number=number: ran.append(number))
    thread.start()
    thread.stop()
    assert thread.join(5)
    assert ran == list(range(10))
    assert not thread.is_alive


def test_posting_after_the_end_says_so() -> None:
    """Nobody waits for an answer that cannot come."""
    thread = IOThread("ended", lambda error: None)
    thread.start()
    thread.stop()
    assert thread.join(5)
    ran: list[int] = []
    assert thread.post(lambda: ran.append(1)) is False
    assert ran == []


def test_a_replaced_loop_takes_the_timers_along(io_thread: IOThread, faults: list[BaseException]) -> None:
    """An error in one of pika's own callbacks ends the loop; deadlines that were running still come, cancelled ones do not."""
    fired, order = threading.Event(), list[str]()

    def arm() -> None:
        io_thread.call_later(0.2, lambda: (order.append("kept"), fired.set())[0])
        io_thread.call_later(0.1, lambda: order.append("cancelled")).cancel()

    def break_loop() -> None:
        raise RuntimeError("inside pika")

    run_on(io_thread, arm)
    io_thread.loop.add_callback_threadsafe(break_loop)
    assert fired.wait(5)
    assert order == ["kept"]
    assert [str(fault) for fault in faults] == ["inside pika"]
