"""Our statements with ``%s``, for libraries that number their placeholders."""

from __future__ import annotations

import functools
import itertools
import re

__all__ = ["numbered"]


@functools.lru_cache(maxsize=256)
def numbered(sql: str) -> str:
    """``%s`` as ``$1``, ``$2``, …, and ``%%`` as ``%``."""
    count = itertools.count(1)
    return re.sub("%([%s])", lambda match: "%" if match[1] == "%" else f"${next(count)}", sql)
