"""What waking the relay costs the writers, and nothing else: pgbench commits the outbox's own statements, no relay reads.

A session stands in for the relay: it listens, and is awake (it holds the doorbell's lock) or asleep.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.alternating import Tell, Turn, alternate
from benchmarks.children import MissingClientError, RunFailedError
from benchmarks.clients.rmqpool_outbox_writers import notifying
from benchmarks.report import Sample, ScenarioResult
from rmqpool.outbox.statements import DOORBELL, insert_rows, lock_class
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.writes import Writes
from rmqpool.testing.postgres import find_postgres

__all__ = ["measure_wake_up", "outcome"]

_WRITERS = 8
_BODY = bytes(256)
_DEADLINE = 120.0  # seconds for one run
_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}


def measure_wake_up(database: str, rounds: int, count: int, tell: Tell) -> ScenarioResult:
    """``count`` transactions of one row in each run, by all writers together."""
    tables = Tables()
    plain = insert_rows(tables, "pyformat", ring=False)
    ring = insert_rows(tables, "pyformat")
    ways = (
        ("rmqpool Outbox, the relay awake", ring, True, "what writers meet while rows come"),
        ("rmqpool Outbox, no wake-up", plain, True, "doorbell=False"),
        ("plain NOTIFY", notifying(tables, "pyformat"), True, "the same statement with NOTIFY each time"),
        ("rmqpool Outbox, the relay asleep", ring, False, "as if a relay that is rung did not wake up"),
    )
    turns = [Turn(name, partial(_write, database, sql, awake, count), note) for name, sql, awake, note in ways]
    title = f"Waking a relay, {_WRITERS} connections of pgbench, a transaction for each row, nobody reads"
    return ScenarioResult("outbox-wake-up", title, rounds, alternate("outbox-wake-up", turns, rounds, tell))


def outcome(output: str) -> tuple[int, float]:
    """What pgbench printed: transactions, and the seconds that they took. Raises RunFailedError. Pure."""
    done = re.search(r"number of transactions actually processed: (\d+)", output)
    rate = re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)
    if done is None or rate is None or not float(rate[1]):
        raise RunFailedError(f"pgbench printed no figures: {output[-300:]}")
    return int(done[1]), int(done[1]) / float(rate[1])


def _write(database: str, sql: str, awake: bool, count: int) -> Sample:
    """Raises MissingClientError, RunFailedError, psycopg.Error."""
    pgbench = find_postgres() / "pgbench"
    if not pgbench.exists():
        raise MissingClientError(f"{pgbench} is not there: it comes with Postgres' server package")
    with psycopg.connect(database, autocommit=True) as relay, TemporaryDirectory(prefix="rmqpool-benchmark-") as folder:
        script = Path(folder) / "write.sql"
        script.write_text(f"BEGIN;\n{_rendered(relay, sql)};\nCOMMIT;\n", encoding="utf-8")
        each = str(count // _WRITERS)
        command = [str(pgbench), "-n", "-c", str(_WRITERS), "-j", "2", "-t", each, "-f", str(script)]
        with _listening(relay, awake):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            try:
                run = subprocess.run(
                    command, env=_environment(database), capture_output=True, text=True, timeout=_DEADLINE, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise RunFailedError(f"pgbench did not end within {_DEADLINE:g} s") from error
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        relay.execute("TRUNCATE rmqpool_outbox")
    if run.returncode:
        raise RunFailedError(f"pgbench ended with {run.returncode}: {run.stderr[-300:]}")
    messages, seconds = outcome(run.stdout)
    if messages != count // _WRITERS * _WRITERS:
        raise RunFailedError(f"pgbench committed {messages:,} of {count // _WRITERS * _WRITERS:,} rows")
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(messages, seconds, cpu_seconds, after.ru_maxrss * 1024)


@contextmanager
def _listening(relay: psycopg.Connection[Any], awake: bool) -> Iterator[None]:
    tables = Tables()
    key = f"{lock_class(tables.outbox)}, {DOORBELL}"
    relay.execute(f'LISTEN "{tables.channel_name}"')
    if awake:
        taken = relay.execute(f"SELECT pg_try_advisory_lock({key})").fetchone()
        if taken != (True,):
            raise RunFailedError("somebody else holds the doorbell's lock: a relay still runs")
    try:
        yield
    finally:
        relay.execute("UNLISTEN *")
        relay.execute("SELECT pg_advisory_unlock_all()")


def _rendered(connection: psycopg.Connection[Any], sql: str) -> str:
    write = Writes(Tables(), None, len(_BODY), doorbell=True).one("", "benchmark", _BODY, None, None, None, {})
    parameters = list(write.parameters)
    parameters[5] = ["{}"]  # the headers: pgbench takes what follows a colon for the name of a variable
    named = {f"p{number}": value for number, value in enumerate(parameters, start=1)}
    return psycopg.ClientCursor(connection).mogrify(sql, named).replace("\n", " ")


def _environment(database: str) -> dict[str, str]:
    given = conninfo_to_dict(database)
    settings = {variable: str(given[name]) for name, variable in _VARIABLES.items() if given.get(name)}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **settings}
