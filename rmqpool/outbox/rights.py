"""Which rights each kind of program needs, as GRANT statements; and which of them a role lacks.

docs/how-to/outbox.md grants the same; tests/integration/outbox/test_rights.py compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rmqpool.outbox.asking import Ask, asking, at_once
from rmqpool.outbox.tables import Tables, quote_identifier, quote_literal

if TYPE_CHECKING:
    import psycopg

__all__ = ["Purpose", "grants", "missing_grants", "missing_grants_of", "version_grants"]

Purpose = Literal["write", "relay", "handle", "operate"]
"""What a program does: services write, relays publish, workers handle with an inbox, operators look and repair."""


@dataclass(frozen=True, slots=True)
class _Right:
    privileges: tuple[str, ...]
    names: tuple[str, ...]  # of Tables' properties; "sequence" is that of the outbox' ids

    def grant(self, tables: Tables, role: str) -> str:
        kind = "SEQUENCE " if "sequence" in self.names else ""
        objects = ", ".join(getattr(tables, name) for name in self.names)
        return f"GRANT {', '.join(self.privileges)} ON {kind}{objects} TO {role}"


_VERSION = _Right(("SELECT",), ("migrations",))
_RIGHTS: dict[Purpose, tuple[_Right, ...]] = {
    "write": (_VERSION, _Right(("INSERT",), ("outbox", "scheduled"))),
    "relay": (
        _VERSION,
        _Right(("SELECT",), ("sequence",)),
        _Right(("SELECT", "INSERT", "DELETE"), ("outbox", "held")),
        _Right(("SELECT", "INSERT", "UPDATE", "DELETE"), ("stalled",)),
        _Right(("SELECT", "UPDATE", "DELETE"), ("scheduled",)),
        _Right(("INSERT",), ("dead",)),
    ),
    "handle": (_VERSION, _Right(("SELECT", "INSERT"), ("inbox",))),
    "operate": (
        _VERSION,
        _Right(("SELECT", "INSERT", "UPDATE", "DELETE"), ("outbox", "held", "stalled", "dead", "scheduled", "inbox")),
    ),
}


def grants(tables: Tables, purpose: Purpose, role: str | None) -> list[str]:
    """All statements that give a role what it needs. ``role`` is its plain name; None: not known."""
    return _with_schema(tables, _RIGHTS[purpose], _quoted(role))


def version_grants(tables: Tables, role: str | None) -> list[str]:
    """As :func:`grants`, for what every program needs: to read the version of the tables."""
    return _with_schema(tables, (_VERSION,), _quoted(role))


def missing_grants(connection: psycopg.Connection[Any], tables: Tables, purpose: Purpose) -> list[str]:
    """Statements that give the connection's role what it lacks; none if it may do all. Raises psycopg.Error.

    The tables must be there.
    """
    with connection.cursor() as cursor:
        return at_once(missing_grants_of(asking(cursor), tables, purpose))


async def missing_grants_of(ask: Ask, tables: Tables, purpose: Purpose) -> list[str]:
    """As :func:`missing_grants`, through ``ask``."""
    ((name,),) = await ask("SELECT CAST(current_user AS text)")
    role = quote_identifier(name)
    if tables.schema is not None:
        schema = quote_literal(quote_identifier(tables.schema)).replace("%", "%%")
        if await ask(f"SELECT has_schema_privilege(to_regnamespace({schema}), 'USAGE')") == [(False,)]:
            return _with_schema(tables, _RIGHTS[purpose], role)
    lacking = [right for right in _RIGHTS[purpose] if await ask(_lacks(tables, right)) == [(True,)]]
    return [right.grant(tables, role) for right in lacking]


def _with_schema(tables: Tables, rights: tuple[_Right, ...], role: str) -> list[str]:
    usage = [] if tables.schema is None else [f"GRANT USAGE ON SCHEMA {quote_identifier(tables.schema)} TO {role}"]
    return [*usage, *(right.grant(tables, role) for right in rights)]


def _lacks(tables: Tables, right: _Right) -> str:
    """Whether one of the privileges is missing. An object that is not there counts as no lack: that is told elsewhere."""
    checks = []
    for name in right.names:
        table = quote_literal(tables.outbox if name == "sequence" else getattr(tables, name))
        found = (
            f"CAST(pg_get_serial_sequence({table}, 'id') AS regclass)"
            if name == "sequence"
            else f"to_regclass({table})"
        )
        checks += [f"coalesce(has_table_privilege({found}, '{one}'), true)" for one in right.privileges]
    return f"SELECT NOT ({' AND '.join(checks)})".replace("%", "%%")


def _quoted(role: str | None) -> str:
    return "the role" if role is None else quote_identifier(role)
