"""The SQL of an inbox, as bytes for psycopg."""

from __future__ import annotations

from rmqpool.outbox.pruning import delete_old
from rmqpool.outbox.tables import Tables

__all__ = ["InboxStatements"]


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
        self.prune = delete_old(inbox, "done_at", "clock_timestamp() - %s * interval '1 second'").encode()
