"""Which failures to connect to Postgres no waiting mends. Pure.

libpq tells no SQLSTATE of a connection that did not come about, only the server's words (28P01, 28000, 3D000, 42501 of
postgresql.org/docs/current/errcodes-appendix.html). Words in another language than English count as worth another attempt.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["PERMANENT", "stage_of"]

_WORDS: Final = (
    (
        "password",
        r"authentication failed|no password supplied|no pg_hba\.conf entry|role \"[^\"]*\" does not exist"
        r"|is not permitted to log in|no such user",
    ),
    ("database", r"database \"[^\"]*\" does not exist|no such database|is not currently accepting connections"),
    ("rights", r"permission denied for database"),
)
PERMANENT: Final = frozenset(stage for stage, _ in _WORDS)
"""Stages of :class:`rmqpool.errors.ConnectionFailedError` at which the server said no for good."""


def stage_of(told: str) -> str:
    """``password``, ``database`` or ``rights`` if the server refused the role for good, ``tcp`` for everything else."""
    return next((stage for stage, words in _WORDS if re.search(words, told)), "tcp")
