"""The file of a listening Unix socket: made with its permissions, one agent for each, taken away at the end.

A lock beside it (flock, which ends with its process) tells an agent that lives from a file that one has left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from pathlib import Path

from rmqpool.agent.options import AgentOptions
from rmqpool.errors import ConfigurationError

__all__ = ["SocketFile"]

_BACKLOG = 1024
_KNOCK = 1.0  # seconds


class SocketFile:
    """Locks and binds at once. Raises ConfigurationError.

    It sets the umask for a moment: no other thread may make files then (the health reports that run already make none).
    """

    def __init__(self, options: AgentOptions) -> None:
        self._path = Path(options.socket_path)
        _check_folder(self._path.parent)
        self._lock_path = self._path.with_name(f"{self._path.name}.lock")
        self._lock = _locked(self._lock_path, self._path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._identity = self._bind(options)
        except BaseException:
            self.socket.close()
            self._unlock()
            raise

    def _bind(self, options: AgentOptions) -> tuple[int, int]:
        path = self._path
        _remove_stale(path)
        before = os.umask(0o777)  # nobody gets in until the permissions are what they shall be
        try:
            self.socket.bind(str(path))
        except OSError as error:
            raise ConfigurationError(f"cannot make the socket {path}: {error.strerror}") from None
        finally:
            os.umask(before)
        try:
            if options.group is not None:
                os.chown(path, -1, options.group)
            os.chmod(path, options.file_mode)
            self.socket.listen(_BACKLOG)
            self.socket.setblocking(False)
            found = os.stat(path)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise ConfigurationError(
                f"cannot give the socket {path} its group and mode: {error.strerror}; an agent that is not root can only "
                "give it a group of its own"
            ) from None
        return found.st_dev, found.st_ino

    def remove(self) -> None:
        """Listen no more, and take the file away, if it is still this one's. Idempotent."""
        if self.socket.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._identity:
                self._path.unlink()
        self.socket.close()
        self._unlock()

    def _unlock(self) -> None:
        with contextlib.suppress(OSError):
            self._lock_path.unlink()  # still locked: whoever opened it before looks again
        os.close(self._lock)


def _check_folder(folder: Path) -> None:
    try:
        found = folder.stat()
    except OSError as error:
        raise ConfigurationError(
            f"the socket's folder {folder} cannot be used: {error.strerror}; make it first (systemd: RuntimeDirectory=)"
        ) from None
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise ConfigurationError(
            f"everybody may write into {folder}, and so replace the socket: use a folder of the agent's own"
        )


def _locked(lock_path: Path, path: Path) -> int:
    while True:
        try:
            lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"cannot make {lock_path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.stat(lock_path)
            if (found.st_dev, found.st_ino) == _identity_of(lock):
                os.ftruncate(lock, 0)
                os.write(lock, str(os.getpid()).encode())
                return lock
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace")
            os.close(lock)
            raise ConfigurationError(
                f"another agent (process {holder or 'unknown'}) serves {path}: stop it first, or choose another --socket"
            ) from None
        except FileNotFoundError:
            pass  # the one before has just taken it away
        os.close(lock)


def _identity_of(file: int) -> tuple[int, int]:
    found = os.fstat(file)
    return found.st_dev, found.st_ino


def _remove_stale(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"cannot look at {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError(f"{path} is there, and no socket: remove it, or choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(_KNOCK)
        try:
            knock.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except OSError as error:
            raise ConfigurationError(f"{path} is there, and cannot be tried: {error.strerror or error}") from None
        else:
            raise ConfigurationError(f"something else listens on {path}: stop it first, or choose another --socket")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
