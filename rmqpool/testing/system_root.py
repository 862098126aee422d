"""Runs a program of another system, one that is unpacked into a folder, beside the machine's own.

A second generation of a service needs other libraries than the machine has. The program sees the folder as its root, with the
machine's /proc, /dev and /var/tmp (where private folders are) in it. The mounts are in a name space of its own: they are
gone with the program, and nobody else sees them. Linux, with util-linux; root is not needed where users may make name spaces.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["command_inside"]

_MOUNT = 'set -e; for folder in /proc /dev /var/tmp; do mount --rbind "$folder" "$0$folder"; done'
# The kernel forgets whose death ends a process when that gets rights of its own; chroot goes to /, and we stay where we are.
_ENTER = """exec setpriv --pdeathsig KILL chroot "$0" /bin/sh -c 'cd "$0"; exec "$@"' "$PWD" "$@\""""


def command_inside(root: Path, *command: str) -> list[str]:
    """The command that runs ``command``, whose paths are those inside, in the system at ``root``, in the same folder."""
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{_MOUNT}; {_ENTER}", str(root), *command]
