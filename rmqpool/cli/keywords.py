"""Which options a callable of ours has, when the user's module gave it one that it does not have."""

from __future__ import annotations

import functools
import inspect
import re
import sys

__all__ = ["misspelt_keyword"]

_TOLD = re.compile(r"([A-Za-z_][\w.]*)\(\) got an unexpected keyword argument '(\w+)'")
_MODULES = ("rmqpool", "rmqpool.middlewares", "rmqpool.outbox")


def misspelt_keyword(error: BaseException) -> tuple[str, list[str]] | None:
    """The unknown option, and those that there are; None if ``error`` tells of no callable of ours.

    Python 3.13 and later have a suggestion in the error itself: None too.
    """
    told = _TOLD.fullmatch(str(error)) if isinstance(error, TypeError) else None
    if told is None:
        return None
    path, name = told.groups()
    for module in filter(None, map(sys.modules.get, _MODULES)):  # one that was not imported did not raise it
        try:
            called = functools.reduce(getattr, path.split("."), module)
            return name, list(inspect.signature(called).parameters)  # type: ignore[arg-type]
        except (AttributeError, TypeError, ValueError):
            continue
    return None
