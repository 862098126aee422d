"""From the options of ``rmqpool worker`` to a supervisor, and to the commands of its processes; and who is told of health."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rmqpool.cli.early_signals import LINK_VARIABLE
from rmqpool.cli.exits import ExitCode
from rmqpool.health.announcing import HealthOptions, HealthReporter, open_sinks
from rmqpool.health.values import Health

if TYPE_CHECKING:
    from rmqpool.config import Settings
    from rmqpool.supervisor.link import SupervisorLink

__all__ = ["Asked", "command_of", "environment_of", "link_to_supervisor", "report_health", "supervise"]

# What no new process mends: the command line, settings or module, the broker's refusal.
REFUSALS = frozenset(
    int(code) for code in (ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.CONNECTION, ExitCode.REFUSED)
)


class Asked(NamedTuple):
    """What each process is to be started with; None leaves a value to its settings."""

    path: str
    queues: list[str] | None
    burst: bool
    log_level: str
    as_json: bool
    url: str | None
    concurrency: int | None
    prefetch: int | None
    grace: float | None
    log_format: str | None


def command_of(asked: Asked) -> tuple[str, ...]:
    """The command of one process, in this interpreter. The URL is not in it: it may hold a password."""
    options: list[str] = ["--log-level", asked.log_level]
    named = {
        "--queues": ",".join(asked.queues) if asked.queues else None,
        "--concurrency": asked.concurrency,
        "--prefetch": asked.prefetch,
        "--grace": asked.grace,
        "--log-format": asked.log_format,
    }
    for name, value in named.items():
        if value is not None:
            options += [name, str(value)]
    options += ["--burst"] * asked.burst + ["--json"] * asked.as_json
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return (sys.executable, *flags, "-m", "rmqpool", "worker", asked.path, *options)


def environment_of(asked: Asked, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of one process: ours, with the URL of the command line."""
    given = dict(environment)
    if asked.url is not None:
        given.pop("RMQPOOL_URL_FILE", None)
        given["RMQPOOL_URL"] = asked.url
    return given


def supervise(
    asked: Asked,
    settings: Settings,
    told: HealthOptions,
    processes: int,
    reload: bool,
    ready_timeout: float,
    hang_timeout: float,
) -> int:
    """Run processes until told to stop; returns the exit code. ConfigurationError."""
    from rmqpool.supervisor.options import SupervisorOptions
    from rmqpool.supervisor.supervisor import Supervisor

    options = SupervisorOptions(
        name=asked.path,
        command=command_of(asked),
        environment=environment_of(asked, os.environ),
        processes=processes,
        grace=settings.grace,
        ready_timeout=ready_timeout,
        hang_timeout=hang_timeout,
        burst=asked.burst,
        reload=Path.cwd() if reload else None,
        refusals=REFUSALS,
    )
    return Supervisor(options, open_sinks(told)).run()


def link_to_supervisor() -> SupervisorLink | None:
    """The tie to the supervisor that started this process; None if none did."""
    if LINK_VARIABLE not in os.environ:
        return None
    from rmqpool.supervisor.link import SupervisorLink

    return SupervisorLink.from_environment(os.environ)


def report_health(told: HealthOptions, link: SupervisorLink | None) -> HealthReporter:
    """Begin to tell: the supervisor, or whom the options and the environment name. Close it. ConfigurationError."""
    sinks = [link] if link is not None else open_sinks(told)
    return HealthReporter(lambda: Health(alive=True, ready=False, state="starting", text="importing"), sinks)
