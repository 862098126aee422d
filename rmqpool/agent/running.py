"""An agent in the foreground of its process: signals stop it, and whoever watches the process is told how it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from rmqpool.health.announcing import HealthOptions, HealthReporter, open_sinks
from rmqpool.health.values import Health

if TYPE_CHECKING:
    from rmqpool.agent.agent import Agent

__all__ = ["run_agent"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_agent(make: Callable[[], Agent], told: HealthOptions) -> bool:
    """Run until a signal, then stop it: True if every publish that was forwarded has its answer. Main thread only.

    A second signal ends the process at once. Raises ConfigurationError, from ``make`` too, and AuthenticationError,
    VirtualHostNotFoundError, VirtualHostAccessError or TLSError if the first host that each connection tries refuses it: later
    refusals (a password that was changed) are waited for.
    """
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        stopping.set()

    before = {one: signal.signal(one, stop) for one in _SIGNALS}
    try:
        reporter = HealthReporter(_starting, open_sinks(told))  # before clients may come: these may be refused
        try:
            with make() as agent:
                reporter.probe = lambda: _health(agent, stopping.is_set())
                agent.on_refusal(stopping.set)
                stopping.wait()
                refusal = agent.refusal
                clean = agent.stop()
                if refusal is not None:
                    raise refusal
                return clean
        finally:
            reporter.close()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _starting() -> Health:
    return Health(alive=True, ready=False, state="starting")


def _health(agent: Agent, stopping: bool) -> Health:
    """Ready while the broker is there; clients may come before, and wait on their own."""
    stats = agent.stats()
    text = str(stats) if agent.is_ready else f"{stats}; {agent.why_not_ready}"
    state = "stopping" if stopping else "running" if agent.was_ready else "starting"
    return Health(alive=True, ready=agent.is_ready and not stopping, state=state, text=text, details=stats.as_json())
