"""Django on psycopg 2, which it uses only where psycopg 3 is not installed: messages are written, all else says what it lacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

PROGRAM = Path(__file__).with_name("django_on_psycopg2.py")
NEEDED = "pip install 'rmqpool[postgres]'"


def test_messages_are_written_and_all_else_says_what_to_install(database: str) -> None:
    """In a process of its own that cannot import psycopg 3."""
    given = conninfo_to_dict(database)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    settings = {name: str(given.get(part, "")) for name, part in names.items()}
    settings["ENGINE"] = "django.db.backends.postgresql"
    ended = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input=json.dumps(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told.pop("psycopg 3") is False
    assert told.pop("in autocommit").startswith("NotInTransactionError: nothing was written")
    assert told.pop("migration_sql") == "ok"
    assert {name: (words.partition(":")[0], NEEDED in words) for name, words in told.items()} == dict.fromkeys(
        ("migrate", "OutboxPool", "Inspector", "Relay"), ("ConfigurationError", True)
    )
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT key, convert_from(body, 'UTF8') FROM rmqpool_outbox ORDER BY id").fetchall()
    assert [(key, json.loads(body)) for key, body in rows] == [
        ("a", {"name": "é"}),
        (None, {"id": 1}),
        (None, {"id": 2}),
    ]
