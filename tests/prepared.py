"""Programs of tests, forked from a process that has imported what they need: to import it takes each half a second.

Law: a program has a process, a session, arguments, an environment, a folder and standard streams of its own, and
none outlives its owner. What a test shows of an interpreter's start and end (its imports, its options, children spawned from its
main module, what is destroyed at the end) needs one that was started by itself: `subprocess`.

The server is this file as a program. It has one thread, so that its forks are safe. Its arguments: a socket, and the modules
to import.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

__all__ = ["Forked", "Prepared"]

_LARGEST = 1 << 18  # bytes of an order
_PR_SET_PDEATHSIG = 1


class Forked:
    """A program that was forked; what `subprocess.Popen` calls the same is the same. Not thread-safe."""

    stdout: IO[str]  # for those who forked it, and made them
    stderr: IO[bytes]

    def __init__(self, report: int) -> None:
        self.returncode: int | None = None
        self._report = os.fdopen(report, "rb", buffering=0)
        self._told = b""
        self.pid = int(self._next_line(60.0))

    def poll(self) -> int | None:
        """The exit code, minus the signal that it died of; None while it runs."""
        if self.returncode is None:
            try:
                self.wait(0)
            except subprocess.TimeoutExpired:
                return None
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code; `subprocess.TimeoutExpired` after so many seconds."""
        if self.returncode is None:
            self.returncode = int(self._next_line(timeout))
            self._report.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, to it alone."""
        self.send_signal(signal.SIGKILL)

    def kill_group(self) -> None:
        """SIGKILL to it and to the processes of its session; waits for its own end."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.wait(60)

    def _next_line(self, timeout: float) -> bytes:
        while b"\n" not in self._told:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked program", timeout)
            more = self._report.read(100)
            if not more:
                self._report.close()
                raise AssertionError("the server of forked programs has ended")
            self._told += more
        line, _, self._told = self._told.partition(b"\n")
        return line


class Prepared:
    """A server that has imported ``modules`` (``package.*``: all that is in it) under these options of the interpreter.

    A context manager; `fork` is thread-safe.
    """

    def __init__(self, modules: Sequence[str], options: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, *options, __file__, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=dict(environment),
            )  # fmt: skip

    def fork(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        streams: Sequence[int],
    ) -> Forked:
        """Run ``module.main()`` with these standard streams (file descriptors, which stay the caller's)."""
        order = json.dumps([module, list(arguments), dict(environment), str(folder)]).encode()
        ours, theirs = os.pipe()
        try:
            socket.send_fds(self._ours, [order], [*streams, theirs])
        finally:
            os.close(theirs)
        return Forked(ours)

    def close(self) -> None:
        """End the server, and what it has forked."""
        self._ours.close()
        self._server.wait(60)

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(orders: socket.socket) -> list[Any]:
    """Forks for each order, tells its pid and its end, until the owner has gone; returns, in each fork, its order."""
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    reports: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([orders, wake], [], [])
        if wake in ready:
            os.read(wake, 100)
            _tell_ends(reports)
        if orders in ready:
            order, streams, _, _ = socket.recv_fds(orders, _LARGEST, 4)
            if not order:
                sys.exit()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for place, stream in enumerate(streams[:3]):
                    os.dup2(stream, place)
                orders.detach()
                os.closerange(3, max(streams + list(reports.values()) + [orders.fileno(), wake, waker, 1023]) + 1)
                return list(json.loads(order))
            reports[pid] = streams.pop()
            os.write(reports[pid], b"%d\n" % pid)
            for stream in streams:
                os.close(stream)


def _tell_ends(reports: dict[int, int]) -> None:
    while reports:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with contextlib.suppress(BrokenPipeError):  # nobody wants to know
            os.write(reports[pid], b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(reports.pop(pid))


def _import(name: str) -> None:
    package = importlib.import_module(name.removesuffix(".*"))
    if name.endswith(".*"):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def _outcome(module: str) -> object:
    """What `sys.exit` was given; 1 for an exception that nobody caught, which is told."""
    try:
        importlib.import_module(module).main()
    except SystemExit as leaving:
        return leaving.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(outcome: object) -> NoReturn:
    """As an interpreter ends, but what it would destroy now, and for half a second, is left to the kernel."""
    if not isinstance(outcome, int | None):
        print(outcome, file=sys.stderr)
        outcome = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(outcome or 0)


def _main() -> NoReturn:
    del sys.path[0]  # this file's folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who ends this
    orders = socket.socket(fileno=int(sys.argv[1]))
    orders.set_inheritable(False)
    for name in sys.argv[2:]:
        _import(name)
    gc.collect()
    gc.freeze()  # no fork has to look at it, and so to copy it
    assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1, "an import started a thread"
    module, arguments, environment, folder = _serve(orders)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    os.chdir(folder)
    paths = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    sys.argv = [module, *arguments]
    _end(_outcome(module))


if __name__ == "__main__":
    _main()
