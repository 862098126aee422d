"""The text of the migrations, which other tools run."""

from __future__ import annotations

from rmqpool.outbox.migrations import migration_sql
from rmqpool.outbox.tables import Tables


def test_no_migration_holds_a_percent_sign() -> None:
    """Alembic and Django hand the text to drivers that take one for a placeholder."""
    assert "%" not in migration_sql(Tables())
