"""The names of the outbox's tables, checked and quoted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rmqpool.errors import ConfigurationError

__all__ = ["Tables", "quote_identifier", "quote_literal", "tables_or_default"]

_LONGEST = 63  # bytes: NAMEDATALEN - 1; Postgres cuts what is longer off without a word
_LONGEST_SUFFIX = len("_outbox_lane_id_idx")


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the outbox lives: ``schema`` (None: what the connection's search_path finds) and the tables' common prefix.

    With the defaults the tables are ``rmqpool_outbox``, ``rmqpool_held``, ``rmqpool_stalled``, ``rmqpool_dead``,
    ``rmqpool_scheduled``, ``rmqpool_inbox`` and ``rmqpool_migrations``. The properties are quoted identifiers, ready
    for SQL (postgresql.org/docs/current/sql-syntax-lexical.html, 4.1.1). Raises ConfigurationError for a name that
    Postgres would refuse or shorten.
    """

    schema: str | None = None
    prefix: str = "rmqpool"

    def __post_init__(self) -> None:
        if self.schema is not None:
            _check("schema", self.schema, _LONGEST)
        _check("prefix", self.prefix, _LONGEST - _LONGEST_SUFFIX)

    @property
    def outbox(self) -> str:
        """The rows that wait to be published: the hot table, INSERT and DELETE only."""
        return self._table("outbox")

    @property
    def sequence(self) -> str:
        """The sequence of the hot table's ids, as Postgres names it."""
        return self._table("outbox_id_seq")

    @property
    def held(self) -> str:
        """Rows of stalled keys, taken out of the hot table's way."""
        return self._table("held")

    @property
    def stalled(self) -> str:
        """One row for each key that fails: attempts, the next one, the last error."""
        return self._table("stalled")

    @property
    def dead(self) -> str:
        """Rows that were given up, with the reason."""
        return self._table("dead")

    @property
    def scheduled(self) -> str:
        """Rows that are not due yet."""
        return self._table("scheduled")

    @property
    def inbox(self) -> str:
        """What each consumer has handled."""
        return self._table("inbox")

    @property
    def migrations(self) -> str:
        """Which migrations were applied."""
        return self._table("migrations")

    @property
    def channel(self) -> str:
        """The channel of NOTIFY, a quoted identifier. One for each prefix: with a schema for each tenant, all hear a ring."""
        return quote_identifier(self.channel_name)

    @property
    def channel_name(self) -> str:
        """The channel of NOTIFY, as a plain text."""
        return f"{self.prefix}_outbox"

    def index(self, name: str) -> str:
        """The quoted name of an index; an index lies in its table's schema, and is named without it."""
        return quote_identifier(f"{self.prefix}_{name}_idx")

    def _table(self, name: str) -> str:
        table = quote_identifier(f"{self.prefix}_{name}")
        return table if self.schema is None else f"{quote_identifier(self.schema)}.{table}"


def tables_or_default(tables: object) -> Tables:
    """``tables``, or the default for None. Raises ConfigurationError for anything else; its value is not repeated."""
    if tables is None:
        return Tables()
    if not isinstance(tables, Tables):
        raise ConfigurationError(
            f"tables is a {type(tables).__name__}; give Tables(schema=…, prefix=…), or nothing for the default names. "
            "A database's URL belongs to OutboxPool, Inbox and Relay; an Outbox is given a connection with each message"
        )
    return tables


def quote_identifier(name: str) -> str:
    """``name`` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """``text`` as a string constant that reads the same whatever standard_conforming_strings says."""
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def _check(field: str, name: str, longest: int) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"the outbox's {field} must be a text that is not empty, not {name!r}")
    if "\0" in name:
        raise ConfigurationError(f"the outbox's {field} {name!r} holds a NUL, which Postgres takes in no name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(f"the outbox's {field} {name!r} cannot be written in UTF-8") from None
    if size > longest:
        raise ConfigurationError(
            f"the outbox's {field} {name!r} has {size} bytes; at most {longest} leave room for the names made of it"
        )
