"""The SQL of an inbox, as bytes for psycopg."""

from __future__ import annotations

from rmqpool.outbox.pruning import delete_old
from rmqpool.outbox.tables import Tables

__all__ = ["InboxStatements"]

_RETENTION = "clock_timestamp() - %s * interval '1 second'"


class InboxStatements:
    """All statements for a table of this name. Immutable."""

    def __init__(self, tables: Tables) -> None:
        inbox = tables.inbox.replace("%", "%%")

        def sql(text: str) -> bytes:
            return text.format(inbox=inbox).encode()

        # One round trip. Who handles the same message at the same time is waited for, but not for ever; the handler's
        # own statements have the time that they had before.
        self.mark = sql(
            "SELECT set_config('rmqpool.lock_timeout', current_setting('lock_timeout'), true),"
            " set_config('lock_timeout', %s, true);"
            " INSERT INTO {inbox} (consumer, message_id) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING 1;"
            " SELECT set_config('lock_timeout', current_setting('rmqpool.lock_timeout'), true)"
        )
        self.mark_many = sql(
            "INSERT INTO {inbox} (consumer, message_id)"
            " SELECT %s, given.id FROM unnest(CAST(%s AS text[])) AS given (id) GROUP BY given.id ORDER BY given.id"
            " ON CONFLICT DO NOTHING RETURNING message_id"
        )
        self.mark_batch = sql(
            "SELECT set_config('rmqpool.lock_timeout', current_setting('lock_timeout'), true),"
            " set_config('lock_timeout', %s, true);"
            " INSERT INTO {inbox} (consumer, message_id)"
            " SELECT %s, given.id FROM unnest(CAST(%s AS text[])) AS given (id) GROUP BY given.id ORDER BY given.id"
            " ON CONFLICT DO NOTHING RETURNING message_id;"
            " SELECT set_config('lock_timeout', current_setting('rmqpool.lock_timeout'), true)"
        )
        # As above, one by one, for libraries that take one statement at a time; ``%s`` stays.
        self.wait_for_others = (
            "SELECT set_config('rmqpool.lock_timeout', current_setting('lock_timeout'), true),"
            " set_config('lock_timeout', %s, true)"
        )
        self.wait_as_before = "SELECT set_config('lock_timeout', current_setting('rmqpool.lock_timeout'), true)"
        self.mark_one = (
            f"INSERT INTO {inbox} (consumer, message_id) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING message_id"
        )
        self.prune_counted = (
            f"WITH gone AS ({delete_old(inbox, 'done_at', _RETENTION)} RETURNING 1) SELECT count(*) FROM gone"
        )
        self.prune = delete_old(inbox, "done_at", _RETENTION).encode()
