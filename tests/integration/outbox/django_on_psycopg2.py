"""A Django service with psycopg 2 and no psycopg 3: writes, and tells as JSON what came of all else. Run as a program."""

from __future__ import annotations

import importlib.abc
import json
import sys
from collections.abc import Callable
from typing import Any


class _NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in ("psycopg", "psycopg_pool"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def told(function: Callable[[], Any]) -> str:
    """What it raises, or that it worked."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def main(database: dict[str, str]) -> None:
    """``database`` are Django's settings of it."""
    sys.meta_path.insert(0, _NotInstalled())
    from django.conf import settings

    settings.configure(USE_TZ=True, DATABASES={"default": database})
    from django.db import connection, transaction
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    import rmqpool.outbox
    from rmqpool.outbox import Outbox, Tables
    from rmqpool.outbox.migrations import migrate, migration_sql

    with transaction.atomic():
        Outbox().publish(connection, "orders", {"name": "é"}, key="a")
        Outbox().publish_many(connection, "orders", [{"id": 1}, {"id": 2}])
    looks = {
        "in autocommit": lambda: Outbox().publish(connection, "orders", {}),
        "migration_sql": lambda: migration_sql(Tables()),
        "migrate": lambda: migrate(connection, Tables()),
        "OutboxPool": lambda: rmqpool.outbox.OutboxPool,
        "Inspector": lambda: rmqpool.outbox.Inspector,
        "Relay": lambda: rmqpool.outbox.Relay,
    }
    print(json.dumps({"psycopg 3": is_psycopg3, **{name: told(look) for name, look in looks.items()}}))


if __name__ == "__main__":
    main(json.load(sys.stdin))
