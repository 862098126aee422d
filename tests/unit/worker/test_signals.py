"""Signals become entries of a queue; what was installed before comes back."""

import os
import signal
import threading

from rmqpool.worker.signals import SignalListener


def test_signals_are_heard_one_after_the_other():
    """And counted."""
    with SignalListener() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait() == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.wait() == signal.SIGINT
        assert signals.heard == 2


def test_wake_ends_the_waiting_and_is_no_signal():
    """From any thread."""
    with SignalListener() as signals:
        threading.Timer(0.05, signals.wake).start()
        assert signals.wait() is None
        assert signals.heard == 0


def test_the_handlers_of_before_come_back():
    """The program that runs a worker may go on."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with SignalListener():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_off_the_main_thread_nothing_is_installed():
    """Python would refuse it."""
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run() -> None:
        with SignalListener():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)
    assert seen == [before]


def test_a_signal_that_the_kernel_gave_to_another_thread_is_heard():
    """It does so after SIGCONT, for one; Python's handler waits for the main thread then."""

    def take_it() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with SignalListener() as listener:
        timer = threading.Timer(0.1, take_it)
        timer.start()
        assert listener.wait() == signal.SIGTERM
        timer.join()
