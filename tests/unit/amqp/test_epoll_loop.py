"""What the loop promises: events, timers and callbacks in their order, none for who is gone, and no spinning."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from rmqpool.amqp.epoll_loop import EpollLoop


@pytest.fixture
def loop() -> Iterator[EpollLoop]:
    loop = EpollLoop()
    yield loop
    loop.close()


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def run(loop: EpollLoop, until: Callable[[], bool] = lambda: False, seconds: float = 5.0) -> None:
    """Run the loop until it is stopped; a guard ends it in any case."""
    guard = loop.call_later(seconds, loop.stop)
    loop.start()
    loop.remove_timeout(guard)


def test_timers_fire_in_the_order_of_their_time(loop: EpollLoop) -> None:
    """Whatever the order in which they were made."""
    fired: list[str] = []
    loop.call_later(0.02, lambda: (fired.append("second"), loop.stop()))
    loop.call_later(0.01, lambda: fired.append("first"))
    loop.call_later(0.0, lambda: fired.append("at once"))
    run(loop)
    assert fired == ["at once", "first", "second"]


def test_a_timer_never_fires_early(loop: EpollLoop) -> None:
    """epoll counts in milliseconds."""
    began, fired = time.monotonic(), list[float]()
    loop.call_later(0.0123, lambda: (fired.append(time.monotonic() - began), loop.stop()))
    run(loop)
    assert fired[0] >= 0.0123


def test_a_removed_timer_does_not_fire(loop: EpollLoop) -> None:
    """Removed before, or by another timer of the same moment; removing twice changes nothing."""
    fired: list[str] = []
    before = loop.call_later(0.0, lambda: fired.append("before"))
    loop.remove_timeout(before)
    loop.remove_timeout(before)
    loop.call_later(0.0, lambda: loop.remove_timeout(same))
    same = loop.call_later(0.0, lambda: fired.append("same moment"))
    loop.call_later(0.01, loop.stop)
    run(loop)
    assert fired == []


def test_thousands_of_removed_timers_are_not_kept(loop: EpollLoop) -> None:
    """Each publish with a deadline may make one."""
    kept = loop.call_later(0.0, loop.stop)
    for _ in range(5000):
        loop.remove_timeout(loop.call_later(1000.0, loop.stop))
    assert len(loop._timeouts) < 1000
    run(loop)
    assert kept is not None


def test_callbacks_of_other_threads_wake_the_loop(loop: EpollLoop) -> None:
    """Without a timer or a socket that would."""
    thread = threading.Thread(target=lambda: loop.add_callback(loop.stop))
    began = time.monotonic()
    thread.start()
    run(loop, seconds=20)
    thread.join()
    assert time.monotonic() - began < 10


def test_a_callback_that_adds_a_callback_lets_sockets_live(
    loop: EpollLoop, sockets: tuple[socket.socket, socket.socket]
) -> None:
    """A chain of callbacks does not keep the loop from looking at its sockets."""
    left, right = sockets
    right.send(b"x")
    loop.add_handler(left.fileno(), lambda fd, events: loop.stop(), loop.READ)
    rounds: list[int] = []

    def again() -> None:
        rounds.append(1)
        loop.add_callback(again)

    again()
    run(loop)
    assert len(rounds) < 1000


def test_what_is_readable_is_told_until_it_is_read(
    loop: EpollLoop, sockets: tuple[socket.socket, socket.socket]
) -> None:
    """Level-triggered: half of the data may be left for the next turn."""
    left, right = sockets
    read: list[bytes] = []

    def on_readable(fd: int, events: int) -> None:
        read.append(left.recv(1))
        if len(read) == 3:
            loop.stop()

    loop.add_handler(left.fileno(), on_readable, loop.READ)
    right.send(b"abc")
    run(loop)
    assert read == [b"a", b"b", b"c"]


def test_writing_is_told_only_while_it_is_asked_for(
    loop: EpollLoop, sockets: tuple[socket.socket, socket.socket]
) -> None:
    """Otherwise the loop would spin."""
    left, _ = sockets
    told: list[int] = []

    def on_event(fd: int, events: int) -> None:
        told.append(events)
        loop.update_handler(fd, loop.READ)
        loop.call_later(0.02, loop.stop)

    loop.add_handler(left.fileno(), on_event, loop.READ | loop.WRITE)
    run(loop)
    assert told == [loop.WRITE]


def test_a_handler_that_was_removed_in_the_same_turn_is_not_called(loop: EpollLoop) -> None:
    """Its descriptor's number may be somebody else's by then."""
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def on_readable(fd: int, events: int) -> None:
        called.append(fd)
        for left, _ in pairs:
            loop.remove_handler(left.fileno())
        loop.call_later(0.01, loop.stop)

    for left, right in pairs:
        loop.add_handler(left.fileno(), on_readable, loop.READ)
        right.send(b"x")
    run(loop)
    for pair in pairs:
        for end in pair:
            end.close()
    assert len(called) == 1


def test_who_hung_up_is_noticed_by_whoever_waits(loop: EpollLoop) -> None:
    """A pipe's end tells only that it was hung up; the reader is told to read, and finds out."""
    reading, writing = os.pipe()
    seen: list[int] = []

    def on_event(fd: int, events: int) -> None:
        seen.append(events)
        loop.stop()

    loop.add_handler(reading, on_event, loop.READ)
    os.close(writing)
    run(loop)
    loop.remove_handler(reading)
    os.close(reading)
    assert seen[0] == loop.READ  # and nothing else: pika would warn of a writer that nobody is


def test_a_direct_reader_is_called_for_reading_only(
    loop: EpollLoop, sockets: tuple[socket.socket, socket.socket]
) -> None:
    """With anything else in it the event is the handler's."""
    left, right = sockets
    calls: list[str] = []

    def read() -> None:
        left.recv(10)
        calls.append("reader")
        loop.update_handler(left.fileno(), loop.READ | loop.WRITE)
        right.send(b"y")

    loop.add_handler(left.fileno(), lambda fd, events: (calls.append("handler"), loop.stop()), loop.READ)
    loop.read_with(left.fileno(), read)
    right.send(b"x")
    run(loop)
    assert calls == ["reader", "handler"]


def test_before_each_sleep_the_hook_is_called_once(loop: EpollLoop) -> None:
    """And what it adds is not slept over."""
    calls: list[str] = []

    def hook() -> None:
        calls.append("hook")
        if len(calls) == 1:
            loop.add_callback(lambda: calls.append("callback"))
            loop.call_later(0.0, loop.stop)

    loop.before_sleep(hook)
    run(loop)
    assert calls[:2] == ["hook", "callback"]


def test_a_timer_that_the_hook_sets_is_not_slept_over(loop: EpollLoop) -> None:
    """The hook runs users' callbacks, which may set the shortest timer of all."""
    fired: list[float] = []

    def hook() -> None:
        if not fired:
            fired.append(0.0)
            loop.call_later(0.05, loop.stop)

    loop.call_later(20.0, loop.stop)
    loop.before_sleep(hook)
    started = time.monotonic()
    run(loop, seconds=10.0)
    assert time.monotonic() - started < 5.0


def test_an_error_in_a_callback_ends_the_loop_with_it(loop: EpollLoop) -> None:
    """As pika's own does: whoever runs the loop decides."""
    loop.add_callback(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(loop)


def test_after_close_a_late_callback_rings_nobody(loop: EpollLoop) -> None:
    """The descriptor's number may be somebody else's."""
    loop.close()
    loop.close()
    loop.add_callback(lambda: None)


def test_pikas_services_run_on_it() -> None:
    """Name look-up, on a thread of pika's, answers on the loop."""
    loop, found = EpollLoop(), list[object]()
    services = SelectorIOServicesAdapter(loop)
    services.getaddrinfo("127.0.0.1", 5672, on_done=lambda result: (found.append(result), loop.stop()))
    run(loop)
    services.close()
    assert isinstance(found[0], list)
