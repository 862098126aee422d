"""The SQL of a relay. What runs on the lane connection is bound by the client: a parameter of the extended protocol leaves
a portal open, and with it a snapshot that holds vacuum back for as long as the transaction is idle.

``%s`` are psycopg's placeholders; names of tables are escaped for it.
"""

from __future__ import annotations

from rmqpool.outbox.statements import DOORBELL, lock_class
from rmqpool.outbox.tables import Tables, quote_literal

__all__ = ["ALIVE", "LEADER", "RelayStatements"]

ALIVE = -2
"""The second key of the lock that every relay holds shared: relays count each other by it."""

LEADER = -3
"""The second key of the lock of the one relay that publishes in strict order."""

_COLUMNS = "id, lane, key, exchange, routing_key, message_id, properties, headers, body, created_at"
_PARTS = "o.id, o.lane, o.key, o.exchange, o.routing_key, o.message_id, o.properties, o.headers, o.body"
# Bodies only up to so many bytes, in the order in which the rows come; those that begin beyond are NULL. The length of
# what lies in the TOAST table stands in its row, compressed or not: only bodies that are returned are read.
_READ = (
    "SELECT o.id, o.lane, o.key, o.exchange, o.routing_key, o.message_id::text, o.properties::text, o.headers::text,"
    " CASE WHEN sum(octet_length(o.body)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(o.body) < %(bytes)s"
    " THEN o.body END"
)


class RelayStatements:
    """All statements for tables of these names, as bytes for psycopg. Immutable."""

    def __init__(self, tables: Tables) -> None:
        names = {
            name: getattr(tables, name).replace("%", "%%")
            for name in ("outbox", "held", "stalled", "dead", "scheduled")
        }
        names |= {
            "lock_class": lock_class(tables.outbox).replace("%", "%%"),
            "table": quote_literal(tables.outbox).replace("%", "%%"),
            "channel": tables.channel.replace("%", "%%"),
            "columns": _COLUMNS,
            "parts": _PARTS,
            "read": _READ,
            "alive": str(ALIVE),
            "alive_unsigned": str(ALIVE % 2**32),
            "leader": str(LEADER),
            "doorbell": str(DOORBELL),
        }

        def sql(text: str) -> bytes:
            return text.format_map(names).encode()

        # The lane transaction
        self.announce = sql("SELECT pg_advisory_xact_lock_shared({lock_class}, {alive})")
        self.lead = sql("SELECT pg_try_advisory_xact_lock({lock_class}, {leader})")
        self.lock_lanes = sql(
            "SELECT lane FROM unnest(CAST(%s AS int[])) AS lane WHERE pg_try_advisory_xact_lock({lock_class}, lane)"
            " LIMIT %s"
        )
        self.count_alive = sql(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid = CAST({table} AS regclass) AND objid = {alive_unsigned}"
        )
        # First what appeared late between low and floor, past what is in hand; then what is new. One snapshot for both:
        # a row that is seen in the second part has all earlier ones of its key in the first.
        self.fetch_all = sql(
            "{read}, o.late FROM ("
            "(SELECT {parts}, true AS late FROM {outbox} AS o WHERE o.id > %(low)s AND o.id <= %(floor)s"
            " AND o.id NOT IN (SELECT unnest(CAST(%(in_hand)s AS bigint[]))) ORDER BY o.id LIMIT %(limit)s)"
            " UNION ALL (SELECT {parts}, false FROM {outbox} AS o WHERE o.id > %(floor)s"
            " ORDER BY o.id LIMIT %(limit)s)) AS o"
        )
        self.fetch_up_to = sql(
            "{read} FROM (SELECT {parts} FROM {outbox} AS o WHERE o.id > %(floor)s AND o.id <= %(upper)s"
            " ORDER BY o.id LIMIT %(limit)s) AS o"
        )
        self.fetch_lanes = sql(
            "{read}, o.late FROM (SELECT r.* FROM"
            " unnest(CAST(%(lanes)s AS smallint[]), CAST(%(floors)s AS bigint[])) AS l (lane, floor)"
            " CROSS JOIN LATERAL ("
            "(SELECT {parts}, true AS late FROM {outbox} AS o WHERE o.lane = l.lane AND o.id > %(low)s AND o.id <= l.floor"
            " AND o.id NOT IN (SELECT unnest(CAST(%(in_hand)s AS bigint[]))) ORDER BY o.id LIMIT %(limit)s)"
            " UNION ALL (SELECT {parts}, false FROM {outbox} AS o WHERE o.lane = l.lane AND o.id > l.floor"
            " ORDER BY o.id LIMIT %(limit)s)) AS r LIMIT %(most)s) AS o"
        )
        self.sweep = sql(
            "SELECT r.id FROM unnest(CAST(%(lanes)s AS smallint[])) AS l (lane)"
            " CROSS JOIN LATERAL (SELECT o.id FROM {outbox} AS o WHERE o.lane = l.lane AND o.id <= %(low)s"
            " ORDER BY o.id LIMIT %(limit)s) AS r"
        )
        self.fetch_ids = sql(
            "{read} FROM (SELECT {parts} FROM {outbox} AS o WHERE o.id = ANY(CAST(%(ids)s AS bigint[])) ORDER BY o.id) AS o"
        )
        self.stalls_of_lanes = sql(
            "SELECT stall, lane, attempts, greatest(0, extract(epoch FROM next_at - clock_timestamp()))::float8"
            " FROM {stalled} WHERE lane = ANY(CAST(%s AS smallint[]))"
        )
        self.fetch_held = sql(
            "{read} FROM (SELECT {parts} FROM {held} AS o WHERE o.stall = %(stall)s ORDER BY o.id LIMIT %(limit)s) AS o"
        )
        # The next stalls that have held rows, in the order of the index, one look at it for each; who has no row of its own?
        self.held_stalls = sql(
            "WITH RECURSIVE h AS ((SELECT stall, lane FROM {held} WHERE stall > %(after)s ORDER BY stall LIMIT 1)"
            " UNION ALL SELECT n.stall, n.lane FROM h CROSS JOIN LATERAL (SELECT o.stall, o.lane FROM {held} AS o"
            " WHERE o.stall > h.stall ORDER BY o.stall LIMIT 1) AS n)"
            " SELECT h.stall, h.lane, EXISTS (SELECT FROM {stalled} AS s WHERE s.stall = h.stall) FROM h LIMIT %(limit)s"
        )
        # Read as a table: pg_sequence_last_value() would keep a lock on it for as long as the transaction lasts.
        self.sequence = sql(
            "SELECT pg_get_serial_sequence({table}, 'id'),"
            " has_sequence_privilege(pg_get_serial_sequence({table}, 'id'), 'SELECT')"
        )
        self.writers = sql(
            "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation'"
            " AND relation = CAST({table} AS regclass) AND mode = 'RowExclusiveLock' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        # The settling connection, in autocommit
        # A row is its id and its message_id: after a fail-over to a standby that lagged, ids are given out again.
        self.delete_hot = sql("DELETE FROM {outbox} WHERE id = ANY(%s) AND message_id = ANY(CAST(%s AS uuid[]))")
        self.delete_held = sql("DELETE FROM {held} WHERE id = ANY(%s) AND message_id = ANY(CAST(%s AS uuid[]))")
        self.stalls = sql(
            "INSERT INTO {stalled} AS s (stall, lane, attempts, next_at, reason, error)"
            " SELECT stall, lane, attempts, clock_timestamp() + delay * interval '1 second', reason, error"
            " FROM unnest(CAST(%s AS text[]), CAST(%s AS smallint[]), CAST(%s AS integer[]), CAST(%s AS float8[]),"
            " CAST(%s AS text[]), CAST(%s AS text[])) AS given (stall, lane, attempts, delay, reason, error)"
            " ON CONFLICT (stall) DO UPDATE SET attempts = excluded.attempts, next_at = excluded.next_at,"
            " reason = excluded.reason, error = excluded.error"
        )
        self.add_stalls = sql(
            "INSERT INTO {stalled} (stall, lane, attempts, next_at, reason, error)"
            " SELECT stall, lane, 0, clock_timestamp(), 'held', ''"
            " FROM unnest(CAST(%s AS text[]), CAST(%s AS smallint[])) AS given (stall, lane) ON CONFLICT DO NOTHING"
        )
        self.hold = sql(
            "WITH moved AS (DELETE FROM {outbox} WHERE id = ANY(%s) AND message_id = ANY(CAST(%s AS uuid[])) RETURNING {columns},"
            " CASE WHEN key IS NULL THEN 'row:' || id ELSE 'key:' || key END AS stall), known AS ("
            " INSERT INTO {stalled} (stall, lane, attempts, next_at, reason, error)"
            " SELECT DISTINCT ON (stall) stall, lane, 0, clock_timestamp(), 'held', '' FROM moved"
            " ON CONFLICT DO NOTHING)"
            " INSERT INTO {held} (stall, {columns}) SELECT stall, {columns} FROM moved"
        )
        self.bury_hot = sql(
            "WITH moved AS (DELETE FROM {outbox} WHERE id = %s AND message_id = CAST(%s AS uuid) RETURNING {columns})"
            " INSERT INTO {dead} ({columns}, attempts, reason, error) SELECT {columns}, %s, %s, %s FROM moved"
        )
        self.bury_held = sql(
            "WITH moved AS (DELETE FROM {held} WHERE id = %s AND message_id = CAST(%s AS uuid) RETURNING {columns})"
            " INSERT INTO {dead} ({columns}, attempts, reason, error) SELECT {columns}, %s, %s, %s FROM moved"
        )
        self.unstall = sql(
            "DELETE FROM {stalled} AS s WHERE s.stall = %s"
            " AND NOT EXISTS (SELECT FROM {held} AS h WHERE h.stall = s.stall)"
        )
        # The ids are given in the order of the due times; who else moves rows at the same time takes others.
        self.release_due = sql(
            "WITH due AS (DELETE FROM {scheduled} WHERE id IN (SELECT id FROM {scheduled}"
            " WHERE due_at <= clock_timestamp() ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED)"
            " RETURNING *), added AS (INSERT INTO {outbox} (lane, key, exchange, routing_key, message_id, properties,"
            " headers, body, created_at) SELECT lane, key, exchange, routing_key, message_id, properties, headers, body,"
            " created_at FROM due ORDER BY due_at, due.id RETURNING 1) SELECT count(*) FROM added"
        )
        # The bell's connection, in autocommit
        self.listen = sql("LISTEN {channel}")
        self.stay_awake = sql("SELECT pg_try_advisory_lock({lock_class}, {doorbell})")
        self.fall_asleep = sql("SELECT pg_advisory_unlock({lock_class}, {doorbell})")
