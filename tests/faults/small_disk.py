"""A disk of some megabytes that a test may fill: a tmpfs, mounted for it and gone afterwards. Only root may mount."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rmqpool.testing.processes import PrivateFolder

__all__ = ["SmallDisk", "small_disk"]


class SmallDisk:
    """``path`` is where it is mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no byte of it free."""
        with open(self._filler, "ab", buffering=0) as file:
            for size in (2**20, 4096):
                try:
                    while file.write(b"\xff" * size):
                        pass
                except OSError:  # no space left
                    continue

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink()


@contextmanager
def small_disk(megabytes: int, user: str | None) -> Iterator[SmallDisk]:
    """Mount one that belongs to ``user``. The test is skipped where that is not allowed."""
    if user is None:
        pytest.skip("NOT TESTED: only root can mount a small disk, and this test needs one that is full")
    folder = PrivateFolder("disk", user)
    owner = pwd.getpwnam(user)
    options = f"size={megabytes}m,mode=700,uid={owner.pw_uid},gid={owner.pw_gid}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", os.fspath(folder.path)]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    if mounted.returncode:
        folder.remove()
        pytest.skip(f"NOT TESTED: no small disk could be mounted, and this test needs one: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder.path)
    finally:
        # Lazy: it is gone as soon as the last process that has a file on it has ended.
        subprocess.run(["umount", "--lazy", os.fspath(folder.path)], capture_output=True, timeout=10, check=True)
        folder.remove()
