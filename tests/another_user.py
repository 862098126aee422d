"""What another user of this machine meets, told by a child process that has become that user."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Sequence

__all__ = ["told_by_nobody"]

_LONGEST = 4000  # bytes of an answer: a pipe takes them without a reader


def told_by_nobody(tell: Callable[[], str], groups: Sequence[int] = ()) -> str:
    """What ``tell`` returns as the user ``nobody``, also a member of ``groups``; an exception in it is told as text.

    Only root may become somebody else. What ``tell`` needs is imported before: the child may not read the source tree.
    """
    nobody = pwd.getpwnam("nobody")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told = "nothing"
        try:
            os.setgroups(groups)
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            told = tell()
        except BaseException as error:
            cause = error.__cause__
            told = f"{type(error).__name__}: {error} {type(cause).__name__}: {cause}"
        finally:
            os.write(writer, told.encode()[:_LONGEST])
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told
