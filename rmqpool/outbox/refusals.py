"""What Postgres' refusals mean for an outbox, and what to do about them, with its names. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from rmqpool.outbox.rights import Purpose, grants
from rmqpool.outbox.tables import Tables

__all__ = ["INSUFFICIENT_PRIVILEGE", "command", "grant_advice", "relay_trouble", "schema_reason"]

INSUFFICIENT_PRIVILEGE = "42501"  # postgresql.org/docs/current/errcodes-appendix.html, as the others
_SCHEMA = {
    "42P01": "a table of the outbox {outbox} is not there, or the search_path does not find it; create it with: {migrate}",
    "3F000": "the schema of the outbox {outbox} is not there; create it, and its tables, with: {migrate}",
    "42703": "a column of the outbox {outbox} is not there: its tables are of another version; run: {migrate}",
}


def command(tables: Tables, name: str = "migrate") -> str:
    """``rmqpool outbox NAME``, with the options that name these tables where they are not the default."""
    words = ["rmqpool", "outbox", name]
    if tables.schema is not None:
        words += ["--schema", tables.schema]
    if tables.prefix != Tables().prefix:
        words += ["--prefix", tables.prefix]
    return shlex.join(words)


def grant_advice(statements: Iterable[str]) -> str:
    """What the tables' owner is to run."""
    return f"let the tables' owner run: {'; '.join(statements)}"


def schema_reason(sqlstate: str | None, tables: Tables, purpose: Purpose, role: str | None = None) -> str | None:
    """Why tables, their schema or rights to them are refused, and what to do; None for every other code.

    ``role`` is the plain name of the connection's role, None if it is not known.
    """
    if sqlstate == INSUFFICIENT_PRIVILEGE:
        who = "this role" if role is None else f"the role {role!r} (or what SET ROLE made of it)"
        return f"{who} has not all the rights that it needs; {grant_advice(grants(tables, purpose, role))}"
    reason = _SCHEMA.get(sqlstate or "")
    return None if reason is None else reason.format(outbox=tables.outbox, migrate=command(tables))


def relay_trouble(error: Exception, tables: Tables) -> str:
    """What a relay says of an error that it met at its work: the server's words, and what to do if that is known."""
    said, reason = str(error).strip(), schema_reason(getattr(error, "sqlstate", None), tables, "relay")
    return said if reason is None else f"{reason} (Postgres said: {said})"
