"""A run in the main thread of a process: it reads signals, and does nothing else, so that it always hears the second one."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable

from rmqpool.worker.exits import FORCED, OK, force_exit
from rmqpool.worker.runner import Runner
from rmqpool.worker.signals import SignalListener, may_force

__all__ = ["run_until_signalled"]

_LOGGER = logging.getLogger("rmqpool")
_TURN_LIMIT = 30.0  # seconds for a turn of half a second


def run_until_signalled(name: str, make_runner: Callable[[Callable[[], None]], Runner]) -> int:
    """Start the run that ``make_runner(on_end)`` makes, and wait for its end; returns the exit code.

    The first signal stops it in good order, the second ends the process. Raises what ended the run early.
    """
    with SignalListener() as signals:
        runner = make_runner(signals.wake)
        signals.on_turn = lambda: runner.pulse.beat("main thread", time.monotonic(), _TURN_LIMIT)
        runner.start()
        while (number := signals.wait()) is not None:
            _on_signal(name, runner, number, forced=signals.heard > 1)
    if runner.error is not None:
        raise runner.error
    return OK


def _on_signal(name: str, runner: Runner, number: int, *, forced: bool) -> None:
    signal_name = signal.Signals(number).name
    if forced and not may_force():
        return
    if forced:
        _LOGGER.warning("worker %s: a second signal (%s) ends it at once", name, signal_name)
        force_exit(FORCED + number)
    _LOGGER.info("worker %s: %s; stopping, a second signal forces it", name, signal_name)
    runner.request_stop()
