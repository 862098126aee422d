"""One child process, seen from the worker: started, given messages, killed, and always waited for."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rmqpool.errors import ChildStartError, ConfigurationError
from rmqpool.worker.children.logs import handle_here
from rmqpool.worker.children.pipe import Pipe
from rmqpool.worker.children.protocol import Begun, Broken, Job, Logged, Outcome, Ready, Setup

__all__ = ["ChildProcess", "Death", "spare_memory"]

_LOGGER = logging.getLogger("rmqpool")
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[2]); from rmqpool.worker.children.child import main; main(int(sys.argv[1]))"
)
_HOME = str(Path(__file__).parents[3])  # the folder that holds the package
_TURN = 0.5  # seconds between two looks at a process whose pipe is silent
_AT_ONCE = 0.001  # seconds
_LAST_LOOK = 0.5  # seconds, after a deadline, for reading what has arrived before
_BEGIN_TIMEOUT = 30.0  # for a value to be taken by a child that has nothing else to do
_WAIT_TIMEOUT = 10.0  # for the kernel, after SIGKILL
_FULL = 0.8  # of the memory limit


def spare_memory(limit: int) -> int:
    """Bytes in use from which on a child is replaced: before a message has to fail for want of memory."""
    return int(limit * _FULL)


@dataclass(frozen=True, slots=True)
class Death:
    """A child that did not answer. ``how``: ``signal 11`` or ``exit code 3``. ``out_of_time``: killed at the hard limit.
    ``stopped``: killed because the worker stops. ``idle``: it died before it began with the message.
    """

    how: str
    out_of_time: bool = False
    stopped: bool = False
    idle: bool = False


class ChildProcess:
    """The leader of a process group, which ends with it: whatever its handler started, too.

    ``kill``, ``is_alive`` and ``wait`` are thread-safe. Raises OSError if the system starts no more processes. The kernel
    kills it when the thread that made it ends.
    """

    def __init__(self, setup: Setup) -> None:
        self.handled = 0
        self.busy = False
        self.retired_at = 0.0
        self._lock = threading.Lock()
        self._stopped = False
        self._group_ended = False
        ours, its = socket.socketpair()
        try:
            with its:
                self._popen = subprocess.Popen(
                    [sys.executable, *_interpreter_options(), "-c", _PROGRAM, str(its.fileno()), _HOME],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[its.fileno()],
                    process_group=0,
                )
        except BaseException:
            ours.close()
            raise
        self._pipe = Pipe(ours)
        self._setup = setup
        self._memory_limit = setup.memory_limit
        with contextlib.suppress(OSError):  # it ended at once: whoever waits for it finds out
            self._pipe.send(setup, _BEGIN_TIMEOUT)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def wait_ready(self, timeout: float, is_stopping: Callable[[], bool]) -> None:
        """Wait until the handler is loaded. Raises ConfigurationError if it cannot be, ChildStartError if the child ended,
        took more than ``timeout`` seconds, or ``is_stopping`` said so meanwhile. The child is dead then.
        """
        try:
            answer = self._next(time.monotonic() + timeout, is_stopping)
        except TimeoutError:
            self.kill()
            raise ChildStartError(
                f"child process {self.pid} was not ready within {timeout:g} s: look at what the import of "
                f"{self._setup.module} does"
            ) from None
        except (EOFError, OSError):
            how = self._end()
            raise ChildStartError(
                f"child process {self.pid} ended ({how}) before it was ready: look at what the import of "
                f"{self._setup.module} does, and at the memory of this machine"
            ) from None
        if isinstance(answer, Broken):
            self.kill()
            raise ConfigurationError(self._broken(answer))
        if isinstance(answer, Ready) and self._memory_limit and answer.memory > spare_memory(self._memory_limit):
            self.kill()
            raise ConfigurationError(
                f"memory_limit is {self._memory_limit} bytes, and a child process for {self._setup.module}."
                f"{self._setup.qualname} uses {answer.memory} before its first message: give it twice as much, or more"
            )

    def run(self, job: Job, limit: float | None) -> Outcome | Death:
        """Have a message handled; ``limit`` seconds, then the child is killed. Raises nothing."""
        self.busy = True
        try:
            return self._run(job, limit)
        finally:
            self.busy = False

    def _run(self, job: Job, limit: float | None) -> Outcome | Death:
        begun = False
        try:
            self._pipe.send(job, _BEGIN_TIMEOUT)
            begun = isinstance(self._next(time.monotonic() + _BEGIN_TIMEOUT, _never), Begun)
            answer = self._next(None if limit is None else time.monotonic() + limit, _never)
        except TimeoutError:
            self._end()
            return Death("time-limit:hard", out_of_time=True) if begun else Death("no sign of life", idle=True)
        except (EOFError, OSError):
            return Death(self._end(), stopped=self._stopped, idle=not begun)
        self.handled += 1
        return answer if isinstance(answer, Outcome) else Death(self._end())

    def is_alive(self) -> bool:
        """False once it has ended."""
        with self._lock:
            ended = self._popen.poll() is not None
            if ended and not self._group_ended:  # what it started and left behind would keep its files and its memory
                self._group_ended = True
                self._kill_group()
            return not ended

    def kill(self, *, stopping: bool = False) -> None:
        """SIGKILL, to it and to what it started. Returns at once; idempotent."""
        with self._lock:
            self._stopped = self._stopped or stopping
        if self.is_alive():
            self._kill_group()

    def retire(self) -> None:
        """Let it end by itself: it hears that there will be no more messages. Idempotent."""
        self.retired_at = self.retired_at or time.monotonic()
        self._pipe.close()

    def wait(self, timeout: float) -> bool:
        """Wait for its end, and bury it; False if it still runs after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self.is_alive():
            if time.monotonic() >= deadline:
                return False
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(min(0.05, max(0.0, deadline - time.monotonic())))
        self._pipe.close()
        return True

    def _next(self, deadline: float | None, is_stopping: Callable[[], bool]) -> object:
        """The next answer. TimeoutError at the deadline; EOFError if it ended, also while another process has its pipe."""
        give_up_at = deadline
        while True:
            now = time.monotonic()
            late = deadline is not None and now >= deadline
            if late and give_up_at == deadline:
                give_up_at = now + _LAST_LOOK  # this process may have been suspended: what is there was in time
            if give_up_at is not None and now >= give_up_at:  # also for one that does nothing but write to its log
                raise TimeoutError
            turn = _TURN if deadline is None else min(_TURN, deadline - now)
            try:
                answer = self._pipe.receive(max(_AT_ONCE, turn))
            except TimeoutError:
                if late:
                    raise
                if is_stopping() or not self.is_alive():
                    raise EOFError("it ended") from None
                continue
            if not isinstance(answer, Logged):
                return answer
            with contextlib.suppress(Exception):  # a filter of the user's: no reason to give up the message
                handle_here(answer.record)

    def _end(self) -> str:
        """How it ended. It ends here at the latest, with whatever it started."""
        self.kill()
        if not self.wait(_WAIT_TIMEOUT):
            return "no end after SIGKILL"
        code = self._popen.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)

    def _broken(self, answer: Broken) -> str:
        failure = answer.failure
        _LOGGER.error("a child process of this worker failed while it started:\n%s", failure.traceback.rstrip())
        return (
            f"a child process cannot load the handler {self._setup.module}.{self._setup.qualname}: {failure.type}: "
            f"{failure.message[:500]}; its module must be importable by that name in a fresh interpreter"
        )


def _never() -> bool:
    return False


def _interpreter_options() -> list[str]:
    """The options that this interpreter was started with, as multiprocessing passes them on."""
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return options
