"""The schema, as numbered files of plain SQL: read, printed, or applied under a lock."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from rmqpool.errors import OutboxError, OutboxSchemaError
from rmqpool.outbox.adapters.lent import lent
from rmqpool.outbox.asking import Ask, asking, at_once
from rmqpool.outbox.refusals import INSUFFICIENT_PRIVILEGE, command, grant_advice
from rmqpool.outbox.rights import version_grants
from rmqpool.outbox.tables import Tables, quote_identifier, quote_literal

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "LATEST",
    "Migration",
    "applied_versions",
    "applied_versions_of",
    "check_version",
    "check_versions",
    "drop_sql",
    "migrate",
    "migration_sql",
    "migrations",
    "pending_migrations",
    "refuse_older",
    "version_not_readable",
]

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_LOCK_TIMEOUT = 10.0  # seconds: DDL queues behind writers, and everybody else behind the DDL
_TURN_TIMEOUT = 60.0  # seconds to wait for another one that migrates
_LOCK_NOT_AVAILABLE = "55P03"
_MIGRATION_LOCK = "rmqpool outbox migrate"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name, and its SQL with the tables' names in it."""

    version: int
    name: str
    sql: str


@functools.lru_cache(maxsize=1)
def _files() -> tuple[tuple[int, str, str], ...]:
    folder = resources.files("rmqpool.outbox") / "schema"
    found = ((_FILE.fullmatch(file.name), file) for file in folder.iterdir())
    return tuple(sorted((int(match[1]), match[2], file.read_text()) for match, file in found if match))


LATEST = _files()[-1][0]
"""The version that this release works with."""


def migrations(tables: Tables) -> tuple[Migration, ...]:
    """All migrations in order, for tables of these names."""
    names = {
        "outbox": tables.outbox,
        "held": tables.held,
        "stalled": tables.stalled,
        "dead": tables.dead,
        "scheduled": tables.scheduled,
        "inbox": tables.inbox,
        "held_literal": quote_literal(tables.held),
        "dead_literal": quote_literal(tables.dead),
        "outbox_lane_id": tables.index("outbox_lane_id"),
        "held_stall": tables.index("held_stall"),
        "stalled_lane": tables.index("stalled_lane"),
        "scheduled_due": tables.index("scheduled_due"),
        "inbox_done_at": tables.index("inbox_done_at"),
    }
    return tuple(Migration(version, name, sql.format_map(names)) for version, name, sql in _files())


def migration_sql(tables: Tables, *, after: int = 0, up_to: int = LATEST) -> str:
    """The SQL of the migrations after one version, with what records them: for Alembic, Django, or psql.

    It has no BEGIN and no COMMIT: the tool that runs it has its own transaction.
    """
    parts = [_create_schema(tables)] if tables.schema is not None and after == 0 else []
    parts.append(_create_versions(tables))
    for migration in migrations(tables):
        if after < migration.version <= up_to:
            header = f"-- {migration.version:04} {migration.name}"
            parts.append(f"{header}\n{migration.sql.strip()}\n\n{_record(tables, migration)}")
    return "\n\n".join(parts) + "\n"


def drop_sql(tables: Tables) -> str:
    """The SQL that removes the tables, with what waits in them: to undo the first migration in Alembic or Django."""
    names = ("outbox", "held", "stalled", "dead", "scheduled", "inbox", "migrations")
    return f"DROP TABLE IF EXISTS {', '.join(getattr(tables, name) for name in names)};\n"


@lent
def migrate(
    connection: psycopg.Connection[Any], tables: Tables, *, up_to: int = LATEST, lock_timeout: float = _LOCK_TIMEOUT
) -> list[Migration]:
    """Apply what is missing, in one transaction; returns what was applied.

    Two that migrate at once wait for each other, and the second finds nothing to do. A table that others use is waited
    for ``lock_timeout`` seconds (at least a millisecond): who writes queues behind that wait. Raises OutboxSchemaError
    if the tables are of a newer release or the role may not make or change them, OutboxError if the connection is in a
    transaction or a lock was not to be had in time, and psycopg's own errors for the rest; nothing is half-done then.
    """
    from psycopg import Error
    from psycopg.pq import TransactionStatus

    if connection.info.transaction_status is not TransactionStatus.IDLE:
        raise OutboxError("nothing was migrated: the connection is in a transaction; end it, or use another connection")
    try:
        with connection.transaction():
            return _migrate(connection, tables, up_to, lock_timeout)
    except Error as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise _not_the_owner(connection, tables, error) from error
        if error.sqlstate != _LOCK_NOT_AVAILABLE:
            raise
        raise OutboxError(
            f"nothing was migrated: somebody else held a lock on the tables of {tables.outbox} for too long (another "
            f"migration, or a transaction that writes and does not end). {command(tables, 'doctor')} names old "
            "transactions; then try again"
        ) from error


@lent
def pending_migrations(connection: psycopg.Connection[Any], tables: Tables, *, up_to: int = LATEST) -> list[Migration]:
    """What :func:`migrate` would apply now. Raises OutboxSchemaError if the tables are of a newer release."""
    applied = set(applied_versions(connection, tables))
    _refuse_newer(applied, tables)
    return [one for one in migrations(tables) if one.version not in applied and one.version <= up_to]


def _migrate(connection: psycopg.Connection[Any], tables: Tables, up_to: int, lock_timeout: float) -> list[Migration]:
    with connection.cursor() as cursor:
        # Under Repeatable Read the second of two would not see what the first one did.
        cursor.execute(b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(_set_lock_timeout(_TURN_TIMEOUT))
        lock = quote_literal(f"{_MIGRATION_LOCK} {tables.outbox}").encode()
        cursor.execute(b"SELECT pg_advisory_xact_lock(hashtextextended(" + lock + b", 0))")
        cursor.execute(_set_lock_timeout(lock_timeout))
        missing = pending_migrations(connection, tables, up_to=up_to)
        # Asked for first: IF NOT EXISTS wants the right to create even where there is nothing to do.
        if (
            missing
            and tables.schema is not None
            and not _is_there(cursor, "to_regnamespace", quote_identifier(tables.schema))
        ):
            cursor.execute(_create_schema(tables).encode())
        if missing and not _is_there(cursor, "to_regclass", tables.migrations):
            cursor.execute(_create_versions(tables).encode())
        for migration in missing:
            cursor.execute(migration.sql.encode())
            cursor.execute(_record(tables, migration).encode())
    return missing


def _not_the_owner(connection: psycopg.Connection[Any], tables: Tables, error: psycopg.Error) -> OutboxSchemaError:
    with connection.cursor() as cursor:
        owner = (
            f"SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({quote_literal(tables.outbox)})"
        )
        row = cursor.execute(owner.encode()).fetchone()
        place = cursor.execute(b"SELECT current_user, current_schema(), current_database()").fetchone()
        is_new = tables.schema is not None and not _is_there(cursor, "to_regnamespace", quote_identifier(tables.schema))
    role, schema, database = place or ("", "", "")
    if row is not None:
        advice = f"run it as their owner: {row[0]!r}"
    else:
        where = (
            f"DATABASE {quote_identifier(database)}"
            if is_new
            else f"SCHEMA {quote_identifier(tables.schema or schema or 'public')}"
        )
        advice = (
            f"run it as the role that is to own them, or grant it: GRANT CREATE ON {where} TO {quote_identifier(role)}"
        )
    return OutboxSchemaError(
        f"nothing was migrated: the role {role!r} may not make or change the tables of {tables.outbox}; {advice} "
        f"(Postgres said: {error.diag.message_primary or error})"
    )


def _is_there(cursor: psycopg.Cursor[Any], function: str, quoted: str) -> bool:
    row = cursor.execute(f"SELECT {function}({quote_literal(quoted)}) IS NOT NULL".encode()).fetchone()
    return row == (True,)


def _set_lock_timeout(seconds: float) -> bytes:
    return f"SET LOCAL lock_timeout = '{max(1, round(seconds * 1000))}ms'".encode()


@lent
def applied_versions(connection: psycopg.Connection[Any], tables: Tables) -> list[int]:
    """The versions that were applied, in order; none if the table of versions is not there.

    Raises OutboxSchemaError if the role may not read it: a transaction can then only be rolled back.
    """
    from psycopg.errors import InsufficientPrivilege

    try:
        with connection.cursor() as cursor:
            return at_once(applied_versions_of(asking(cursor), tables))
    except InsufficientPrivilege as error:
        raise version_not_readable(error, tables, connection.info.user) from error


async def applied_versions_of(ask: Ask, tables: Tables) -> list[int]:
    """As :func:`applied_versions`, through ``ask``, whose errors are passed on."""
    table = quote_literal(tables.migrations).replace("%", "%%")
    if await ask(f"SELECT to_regclass({table}) IS NULL") == [(True,)]:
        return []
    name = tables.migrations.replace("%", "%%")
    return [version for (version,) in await ask(f"SELECT version FROM {name} ORDER BY version")]


def version_not_readable(error: BaseException, tables: Tables, role: str | None) -> OutboxSchemaError:
    """The role may not read which versions were applied; None: it is not known."""
    advice = grant_advice(version_grants(tables, role))
    who = "this role" if role is None else f"the role {role!r}"
    return OutboxSchemaError(
        f"the version of {tables.outbox} cannot be read by {who}; {advice} (Postgres said: {error})"
    )


@lent
def check_version(connection: psycopg.Connection[Any], tables: Tables) -> None:
    """Raise OutboxSchemaError unless the tables are of the version that this release works with, and the role may see it."""
    check_versions(set(applied_versions(connection, tables)), tables)


def check_versions(applied: set[int], tables: Tables) -> None:
    """As :func:`check_version`, of the versions that were applied."""
    _refuse_newer(applied, tables)
    missing = {one.version for one in migrations(tables)} - applied
    refuse_older(LATEST if not missing else max(applied, default=0), tables, bool(missing))


def refuse_older(version: int, tables: Tables, incomplete: bool = False) -> None:
    """Raise OutboxSchemaError if tables of this version (0: none) are not what this release works with."""
    if version == 0:
        raise OutboxSchemaError(
            f"the outbox {tables.outbox} is not there, or this role may not see it; create it with: {command(tables)}"
        )
    if version < LATEST or incomplete:
        raise OutboxSchemaError(
            f"the tables of {tables.outbox} are of version {version}, and this release works with version {LATEST}; "
            f"bring them up to date with: {command(tables)}"
        )


def _refuse_newer(applied: set[int], tables: Tables) -> None:
    newest = max(applied, default=0)
    if newest > LATEST:
        raise OutboxSchemaError(
            f"the tables of {tables.outbox} are of version {newest}, which a newer release of rmqpool made; this one "
            f"knows version {LATEST}: install the newer release here too"
        )


def _record(tables: Tables, migration: Migration) -> str:
    name = quote_literal(migration.name)
    return f"INSERT INTO {tables.migrations} (version, name) VALUES ({migration.version}, {name});"


def _create_schema(tables: Tables) -> str:
    return f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(tables.schema or '')};"


def _create_versions(tables: Tables) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {tables.migrations} (\n"
        "    version integer PRIMARY KEY,\n"
        "    name text NOT NULL,\n"
        "    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()\n"
        ");"
    )
