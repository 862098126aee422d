"""The URL of a database, read and checked before anybody may repeat a password of it in an error."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import psycopg

from rmqpool.errors import ConfigurationError
from rmqpool.secret import MASK, Secret

__all__ = ["CONNECTION_OPTIONS", "masked", "read_conninfo"]

CONNECTION_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "client_encoding": "utf8",  # statements are sent as bytes, and rows are read as text, whatever the database has
        "connect_timeout": 10,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,  # milliseconds
    }
)
"""What every connection of ours has unless its URL says otherwise: a dead peer is noticed. Seconds unless noted."""


def read_conninfo(database: str | Secret, whose: str = "the database's") -> dict[str, Any]:
    """libpq's parameters of a URL, or of key=value pairs. Raises ConfigurationError for what cannot be read.

    ``whose`` URL it is, for the error.
    """
    text = database.reveal() if isinstance(database, Secret) else database
    wrong = ConfigurationError(
        f"{whose} URL cannot be read: write postgresql://user:password@host:5432/database, with ':', '/', '@', '?', "
        "'#' and '%' of a password as %3A, %2F, %40, %3F, %23 and %25"
    )
    if not isinstance(text, str) or not text.strip():
        raise wrong
    try:
        given = psycopg.conninfo.conninfo_to_dict(text)
    except psycopg.Error:
        given = {}
    # libpq repeats host and port in its errors; what should be a password may have landed there.
    hosts, ports = str(given.get("host") or ""), str(given.get("port") or "")
    if not given or "@" in hosts or not all(port.isdigit() for port in ports.split(",") if port):
        raise wrong
    return given


def masked(text: str, given: dict[str, Any]) -> str:
    """``text`` without the password of these parameters."""
    password = str(given.get("password") or "")
    return text.replace(password, MASK) if len(password) >= 4 else text
