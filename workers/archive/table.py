"""The table, its partitions by day, and how rows get into them. In the caller's transaction, which it shares with the inbox."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.types.json import Json

from rmqpool.dlq.letter import plain
from rmqpool.message import Delivery

__all__ = ["COLUMNS", "Table", "partition_name", "row_of"]

COLUMNS: Final = (
    ("archived_at", "timestamptz NOT NULL"),
    ("message_id", "text NOT NULL"),
    ("queue", "text NOT NULL"),
    ("exchange", "text NOT NULL"),
    ("routing_key", "text NOT NULL"),
    ("published_at", "timestamptz"),
    ("type", "text"),
    ("content_type", "text"),
    ("content_encoding", "text"),
    ("properties", "jsonb NOT NULL"),
    ("headers", "jsonb NOT NULL"),
    ("body", "bytea NOT NULL"),
)
_PROPERTIES = ("delivery_mode", "priority", "correlation_id", "reply_to", "expiration", "user_id", "app_id")
_TYPES = [kind.split()[0] for _, kind in COLUMNS]
_LOCK = 0x726D7170  # advisory: one transaction at a time makes tables


def row_of(delivery: Delivery, now: datetime) -> tuple[Any, ...]:
    """The columns of one message. Raises DecodeError for headers that cannot be read, OverflowError for a wild timestamp."""
    properties = {name: value for name in _PROPERTIES if (value := getattr(delivery, name)) is not None}
    timestamp = delivery.timestamp
    return (
        now,
        delivery.message_id,
        delivery.queue,
        delivery.original_exchange,
        delivery.original_routing_key,
        None if timestamp is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=timestamp),
        plain(delivery.type),
        plain(delivery.content_type),
        plain(delivery.content_encoding),
        Json(plain(properties)),
        Json(plain(delivery.headers)),
        delivery.body,
    )


def partition_name(table: str, day: date) -> str:
    """``archived_messages_20261121``."""
    return f"{table}_{day:%Y%m%d}"


class Table:
    """``name`` is trusted: the settings have checked it. Every method runs in the transaction of ``connection``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._schema, _, self._bare = name.rpartition(".")

    def make_room(self, connection: psycopg.Connection[Any], day: date) -> None:
        """The partition of ``day`` (UTC), and before it the table, are there afterwards. Raises psycopg.Error.

        A partition is attached, which holds up neither readers nor other writers of the table.
        """
        partition = partition_name(self._name, day)
        if self._is_there(connection, partition):
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if self._is_there(connection, partition):  # somebody else made it meanwhile
            return
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in COLUMNS
        )
        if not self._is_there(connection, self._name):
            statement = sql.SQL("CREATE TABLE {} ({}) PARTITION BY RANGE (archived_at)")
            connection.execute(statement.format(self._identifier(self._name), columns))
            connection.execute(sql.SQL("CREATE INDEX ON {} (message_id)").format(self._identifier(self._name)))
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        names = {"table": self._identifier(self._name), "partition": self._identifier(partition)}
        connection.execute(sql.SQL("CREATE TABLE {partition} (LIKE {table} INCLUDING ALL)").format(**names))
        attach = sql.SQL("ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({begin}) TO ({end})")
        connection.execute(attach.format(**names, begin=begin.isoformat(), end=(begin + timedelta(days=1)).isoformat()))

    def copy(self, connection: psycopg.Connection[Any], rows: Iterable[tuple[Any, ...]]) -> None:
        """All rows, or none and psycopg.DataError: then the transaction goes on as if nothing had been tried."""
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in COLUMNS)
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(self._identifier(self._name), names)
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                copy.write_row(row)

    def _is_there(self, connection: psycopg.Connection[Any], name: str) -> bool:
        found = connection.execute("SELECT to_regclass(%s)", [name]).fetchone()
        return found is not None and found[0] is not None

    def _identifier(self, name: str) -> sql.Identifier:
        return sql.Identifier(*name.split("."))
