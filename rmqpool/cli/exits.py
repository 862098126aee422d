"""Exit codes are a promise to scripts: each kind of failure has its own, and the same everywhere."""

from __future__ import annotations

import enum

from rmqpool.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    MessageError,
    PoolTimeoutError,
    RmqpoolError,
    WorkerError,
)

__all__ = ["EXIT_CODES_HELP", "ExitCode", "exit_code_of"]


class ExitCode(enum.IntEnum):
    """What a command ends with. ``worker`` ends with what the worker's own run returns once it has started."""

    OK = 0
    PROBLEMS = 1
    USAGE = 2
    CONFIGURATION = 3
    CONNECTION = 4
    INPUT = 5
    REFUSED = 6
    ADDITIONS = 7
    DIFFERENCES = 8
    INTERNAL = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODES_HELP = """\b
Exit codes:
  0    all well
  1    done, but not all is well: a message not confirmed, a queue missing, a problem found
  2    wrong usage of the command line
  3    wrong configuration: URL, settings, module path, worker
  4    no connection: broker or Postgres not there, password, virtual host, TLS
  5    wrong input: a line that is no JSON, a message that cannot be sent
  6    refused by the broker (permission, arguments that differ) or by Postgres (tables, rights, locks)
  7    topology plan: something is to be added
  8    topology plan, apply: something differs, and cannot be changed in place
  70   a fault inside rmqpool
  130  interrupted (Ctrl-C)
"""


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code for an error; connection errors are found behind a pool's timeout too."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, MessageError):
        return ExitCode.INPUT
    if isinstance(error, ConfigurationError):
        return ExitCode.CONFIGURATION
    if isinstance(error, ConnectionFailedError | ConnectionLostError | PoolTimeoutError):
        return ExitCode.CONNECTION
    if isinstance(error, WorkerError):
        return ExitCode.PROBLEMS
    if isinstance(error, RmqpoolError):
        return ExitCode.REFUSED
    return ExitCode.INTERNAL
