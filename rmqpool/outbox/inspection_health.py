"""What keeps an outbox' tables from being healthy, as values: who holds back vacuum, and how the tables are vacuumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rmqpool.outbox.adapters.lent import lent
from rmqpool.outbox.asking import Ask, asking, at_once
from rmqpool.outbox.inspection_connection import names_of, transaction
from rmqpool.outbox.tables import Tables, quote_literal

if TYPE_CHECKING:
    import psycopg

__all__ = ["Health", "Holder", "Sequence", "TableHealth", "health", "health_of"]

_TIMEOUT = 30.0  # seconds for a statement
_QUERY = 200  # characters of a query that are told


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds back vacuum: a session, a prepared transaction, or a replication slot.

    ``name`` is the pid, the transaction's gid or the slot's name; ``who`` the role and application; ``age`` seconds since
    the transaction began (None: not known, for slots), ``transactions`` how many have begun since.
    """

    kind: Literal["session", "prepared", "slot"]
    name: str
    who: str
    state: str
    age: float | None
    transactions: int
    query: str = ""


@dataclass(frozen=True, slots=True)
class TableHealth:
    """How a table is vacuumed. ``scale_factor`` None: the server's own. ``dead`` tuples as the statistics have it."""

    name: str
    autovacuum: bool
    scale_factor: float | None
    live: int
    dead: int
    bytes: int
    vacuumed_ago: float | None


@dataclass(frozen=True, slots=True)
class Sequence:
    """How the hot table gives its ids: ``cache`` and ``increment`` are 1, or a relay cannot know what may still appear."""

    cache: int
    increment: int
    cycles: bool


@dataclass(frozen=True, slots=True)
class Health:
    """All of it. ``sees_all`` False: the role may not see what other roles' sessions do, so holders may be missing.

    ``sequence`` is None if the ids come from none. ``synchronous_commit`` is what a session of this ``role`` begins with.
    """

    server: str
    autovacuum: bool
    sees_all: bool
    read_only: bool
    holders: tuple[Holder, ...]
    tables: tuple[TableHealth, ...]
    sequence: Sequence | None = Sequence(1, 1, False)
    synchronous_commit: str = "on"
    role: str = ""


@lent
def health(connection: psycopg.Connection[Any], tables: Tables) -> Health:
    """Look now; holders come oldest first. Raises OutboxSchemaError, OutboxError, ConnectionLostError."""
    with transaction(connection, tables, timeout=_TIMEOUT, read_only=True) as cursor:
        return at_once(health_of(asking(cursor), tables))


async def health_of(ask: Ask, tables: Tables) -> Health:
    """As :func:`health`, in the transaction in which ``ask`` asks."""
    ((server, autovacuum, sees_all, read_only, synchronous_commit, role),) = await ask(_SERVER)
    holders = [Holder("session", str(pid), *told) for pid, *told in await ask(_SESSIONS, _QUERY)]
    holders += [Holder("prepared", *told) for told in await ask(_PREPARED)]
    holders += [Holder("slot", *told) for told in await ask(_SLOTS)]
    looked_at = [
        TableHealth(name, *(await ask(_TABLE.format(table=quote_literal(quoted))))[0])
        for name, quoted in names_of(tables).items()
    ]
    sequences = await ask(_SEQUENCE.format(table=quote_literal(tables.outbox).replace("%", "%%")))
    holders.sort(key=lambda holder: (holder.transactions, holder.age or 0.0), reverse=True)
    sequence = Sequence(*sequences[0]) if sequences else None
    return Health(
        server,
        autovacuum,
        sees_all,
        read_only,
        tuple(holders),
        tuple(looked_at),
        sequence,
        synchronous_commit,
        role,
    )


_SERVER = """
SELECT current_setting('server_version'),
    CAST(current_setting('autovacuum') AS boolean) AND CAST(current_setting('track_counts') AS boolean),
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), pg_is_in_recovery(),
    current_setting('synchronous_commit'), CAST(current_user AS text)"""
# Sessions of other databases do not count; senders of a standby with hot_standby_feedback belong to none.
_SESSIONS = """
SELECT pid, concat_ws(' ', usename, nullif(application_name, '')), coalesce(state, backend_type),
    CAST(extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start)) AS float8),
    greatest(coalesce(age(backend_xmin), 0), coalesce(age(backend_xid), 0)),
    left(regexp_replace(coalesce(query, ''), '\\s+', ' ', 'g'), %s)
FROM pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid()
    AND (datname = current_database() OR datname IS NULL) AND query NOT LIKE 'autovacuum:%%'"""
_PREPARED = """
SELECT gid, CAST(owner AS text), 'prepared', CAST(extract(epoch FROM clock_timestamp() - prepared) AS float8),
    age(transaction)
FROM pg_prepared_xacts WHERE database = current_database()"""
_SLOTS = """
SELECT CAST(slot_name AS text), coalesce(CAST(plugin AS text), slot_type),
    CASE WHEN active THEN 'active' ELSE 'inactive' END,
    CAST(NULL AS float8), coalesce(greatest(age(xmin), age(catalog_xmin)), 0)
FROM pg_replication_slots
WHERE xmin IS NOT NULL OR (NOT active AND (catalog_xmin IS NOT NULL OR restart_lsn IS NOT NULL))"""
_SEQUENCE = """
SELECT seqcache, seqincrement, seqcycle FROM pg_sequence
WHERE seqrelid = CAST(pg_get_serial_sequence({table}, 'id') AS regclass)"""
_TABLE = """
SELECT coalesce((SELECT CAST(option_value AS boolean) FROM pg_options_to_table(c.reloptions)
        WHERE option_name = 'autovacuum_enabled'), true),
    (SELECT CAST(option_value AS float8) FROM pg_options_to_table(c.reloptions)
        WHERE option_name = 'autovacuum_vacuum_scale_factor'),
    coalesce(s.n_live_tup, 0), coalesce(s.n_dead_tup, 0), pg_table_size(c.oid),
    CAST(extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum)) AS float8)
FROM pg_class AS c LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
WHERE c.oid = CAST({table} AS regclass)"""
