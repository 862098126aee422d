"""``rmqpool outbox``: made, looked at, repaired and diagnosed from the command line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prepared import Prepared

from rmqpool.outbox import Outbox, Tables
from rmqpool.outbox.inspection_connection import connect
from rmqpool.outbox.migrations import LATEST, migrate
from rmqpool.outbox.statements import lock_class
from rmqpool.testing.passwords import MARK, new_password
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.postgres import PostgresServer
from tests.acceptance.conftest import Run, environment, on_a_terminal

COMMANDS = ("migrate", "relay", "status", "stalled", "dead", "replay", "skip", "prune", "doctor")
TABLES = Tables()
COLUMNS = "id, lane, key, exchange, routing_key, message_id, properties, headers, body, created_at"


@pytest.fixture
def database(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """An outbox: rows 1 and 2 wait, 3 and 4 of key a stall, 5 is dead; and a mark of the inbox of 40 days ago."""
    with closing(connect(postgres_url)) as connection:
        migrate(connection, TABLES)
        with connection.transaction():
            for key in (None, None, "a", "a", "b"):
                Outbox().publish(connection, "orders", {"key": key}, key=key)
        for sql in (
            f"WITH moved AS (DELETE FROM rmqpool_outbox WHERE key = 'a' RETURNING {COLUMNS})"
            f" INSERT INTO rmqpool_held (stall, {COLUMNS}) SELECT 'key:a', {COLUMNS} FROM moved",
            "INSERT INTO rmqpool_stalled (stall, lane, attempts, next_at, reason, error)"
            " VALUES ('key:a', 1, 3, clock_timestamp() + interval '1 hour', 'returned', E'NO_ROUTE\\n\\tat all')",
            f"WITH moved AS (DELETE FROM rmqpool_outbox WHERE key = 'b' RETURNING {COLUMNS}) INSERT INTO rmqpool_dead"
            f" ({COLUMNS}, attempts, reason, error) SELECT {COLUMNS}, 10, 'nacked', 'full' FROM moved",
            "INSERT INTO rmqpool_inbox VALUES ('c', 'm', clock_timestamp() - interval '40 days')",
        ):
            connection.execute(sql.encode())
        yield connection


@pytest.fixture
def outbox(inline: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``rmqpool outbox`` with the database in the environment."""
    monkeypatch.setenv("RMQPOOL_POSTGRES_URL", postgres_url)
    return lambda *arguments: inline("outbox", *arguments)


def test_every_command_has_help_with_an_example_and_loads_nothing_heavy() -> None:
    """No driver, no pool."""
    code = (
        "import sys, io, contextlib\n"
        "from rmqpool.cli.main import run\n"
        f"for command in {COMMANDS!r}:\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out):\n"
        "        assert run(['outbox', command, '--help']) == 0, command\n"
        "    assert 'Example' in out.getvalue(), command\n"
        "print([name for name in ('psycopg', 'pika', 'rich', 'rmqpool.config') if name in sys.modules])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "[]"), ended.stderr


def test_the_tables_are_made_once(rmqpool: Run, postgres_url: str, tmp_path: Path) -> None:
    """From a URL in a file; a dry run makes nothing; the second run finds nothing to do."""
    (tmp_path / "url").write_text(postgres_url)
    env = {"RMQPOOL_POSTGRES_URL_FILE": str(tmp_path / "url")}
    dry = rmqpool("outbox", "migrate", "--dry-run", env=env)
    first = rmqpool("outbox", "migrate", "--up-to", "2", env=env)
    second = rmqpool("outbox", "migrate", "--json", env=env)
    third = rmqpool("outbox", "migrate", env=env)
    assert [ended.code for ended in (dry, first, second, third)] == [0, 0, 0, 0], dry.text + first.text + second.text
    assert len(dry.out.splitlines()) == LATEST
    assert dry.out.startswith("would apply 0001 outbox")
    assert first.out.splitlines() == ["applied 0001 outbox", "applied 0002 dead"]
    assert [one["version"] for one in second.json["applied"]] == list(range(3, LATEST + 1))
    assert "up to date" in third.out


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """The URL of a role that may connect, and nothing else. It is gone afterwards."""
    name, password = f"relay_{uuid.uuid4().hex[:8]}", new_password()
    given = psycopg.conninfo.conninfo_to_dict(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
        yield f"postgresql://{name}:{password}@{given['host']}:{given['port']}/{given['dbname']}"
        admin.execute(f"DROP OWNED BY {name}".encode())
        admin.execute(f"DROP ROLE {name}".encode())


def test_a_relay_ends_at_what_no_waiting_mends(outbox: Run, postgres_url: str, role: str) -> None:
    """Password, database: 4; tables, their version, rights: 6. One sentence with what to run, and no password."""
    names = ("--schema", "shop", "--prefix", "events")
    user, password = re.findall(r"//([^:]+):([^@]+)@", role)[0]
    for url, code, told in (
        (role.replace(password, f"{MARK}-wrong"), 4, "password authentication failed"),
        (role.replace(user, "nobody_at_all"), 4, "check the URL's user and password"),
        (f"{role}_absent", 4, "check the name of the database"),
        (postgres_url, 6, "rmqpool outbox migrate --schema shop --prefix events"),
    ):
        ended = outbox("relay", *names, "--url", url)
        assert (ended.code, len(ended.err.strip().splitlines())) == (code, 1), ended.text
        assert told in ended.err
    tables = Tables("shop", "events")
    with closing(connect(postgres_url)) as admin:
        migrate(admin, tables, up_to=2)
        assert "version 2" in outbox("relay", *names).err
        migrate(admin, tables)
        for grant, told in (
            ("USAGE ON SCHEMA shop", 'GRANT SELECT ON "shop"."events_migrations"'),
            ("SELECT ON shop.events_migrations", 'GRANT SELECT ON SEQUENCE "shop"."events_outbox_id_seq"'),
        ):
            before = outbox("relay", *names, "--url", role)
            assert (before.code, "GRANT" in before.err) == (6, True), before.text
            admin.execute(f"GRANT {grant} TO {user}".encode())
            after = outbox("relay", *names, "--url", role)
            assert (after.code, len(after.err.strip().splitlines())) == (6, 1), after.text
            assert told in after.err
            assert f'TO "{user}"' in after.err


def test_a_relay_waits_for_its_tables_when_it_is_told_to(postgres_url: str, tmp_path: Path) -> None:
    """--wait: for services that start in any order. It says what it waits for, and goes on by itself."""
    command = [sys.executable, "-m", "rmqpool", "outbox", "relay", "--wait", "--log-format", "json"]
    port = ReservedPort()
    env = environment(RMQPOOL_POSTGRES_URL=postgres_url, RMQPOOL_URL=f"amqp://127.0.0.1:{port.number}/")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as process:
        assert process.stderr is not None
        told = ""
        while "rmqpool outbox migrate" not in told:
            told = process.stderr.readline()
            assert told, "it ended"
        with closing(connect(postgres_url)) as connection:
            migrate(connection, TABLES)
        while "works again" not in told and "no connection to the broker" not in told:
            told = process.stderr.readline()
            assert told, "it ended"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    port.release()


def test_the_sql_is_printed_for_other_tools_without_a_database(rmqpool: Run, postgres: PostgresServer) -> None:
    """What is printed is what psql runs; names may be odd."""
    names = ("--schema", 'my "schema"', "--prefix", "shop's")
    ended = rmqpool("outbox", "migrate", "--sql", *names)
    assert ended.code == 0
    assert "BEGIN;" not in ended.out
    assert "COMMIT" not in ended.out
    url = postgres.create_database("printed_sql")
    postgres.psql(ended.out, database="printed_sql")
    again = rmqpool("outbox", "migrate", "--json", "--url", url, *names)
    assert again.json["applied"] == []
    assert rmqpool("outbox", "migrate", "--sql", "--json", "--after", "4").json["versions"] == list(
        range(5, LATEST + 1)
    )


def test_status_tells_what_waits_and_who_works(outbox: Run, database: psycopg.Connection[Any]) -> None:
    """For people and for machines."""
    database.execute(f"SELECT pg_advisory_lock_shared({lock_class(TABLES.outbox)}, -2)".encode())
    ended = outbox("status", "--json")
    told = ended.json
    assert ended.code == 0, ended.text
    assert told["waiting"] == {"rows": 2, "more": False}
    assert sum(lane["waiting"]["rows"] for lane in told["lanes"]) == 2
    assert [told[name]["rows"] for name in ("held", "stalled", "dead", "scheduled")] == [2, 1, 1, 0]
    assert [relay["pid"] for relay in told["relays"]] == [database.info.backend_pid]
    lines = outbox("status").out.splitlines()
    assert {"waiting\t2 rows", "held\t2 rows of 1 stalled keys", "relays\t1 alive"} <= set(lines)


def test_status_is_watched_until_ctrl_c(postgres_url: str, database: psycopg.Connection[Any], tmp_path: Path) -> None:
    """An object a line; Ctrl-C is the way to end it, so it ends with 0."""
    command = [sys.executable, "-m", "rmqpool", "outbox", "status", "--watch", "--json", "--interval", "0.1"]
    env = environment(RMQPOOL_POSTGRES_URL=postgres_url)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())["waiting"]["rows"]]
        with database.transaction():
            Outbox().publish(database, "orders", {})
        while seen[-1] == 2:
            seen.append(json.loads(process.stdout.readline())["waiting"]["rows"])
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert set(seen) == {2, 3}


def test_stalled_keys_and_dead_rows_are_listed(outbox: Run, database: psycopg.Connection[Any]) -> None:
    """An error with line breaks stays in its row."""
    stalled, dead = outbox("stalled"), outbox("dead")
    assert stalled.out.splitlines()[1].split("\t")[:4] == ["key:a", "1", "2", "3"]
    assert stalled.out.splitlines()[1].endswith("returned\tNO_ROUTE at all")
    assert dead.out.splitlines()[1].startswith("5\t")
    facts = outbox("stalled", "--json").json["stalled"][0]
    assert (facts["first_id"], facts["held"]) == (3, {"rows": 2, "more": False})
    assert 0 <= facts["since_seconds"] < 60 < facts["next_in_seconds"] <= 3600
    assert outbox("dead", "--json").json["dead"][0]["reason"] == "nacked"


def test_dead_rows_and_stalled_keys_are_replayed(outbox: Run, database: psycopg.Connection[Any]) -> None:
    """By name, or all; what is not there is told, with 1."""
    assert outbox("replay", "--all", "--dry-run").out == "1 stalled keys and 1 dead rows would be replayed\n"
    some = outbox("replay", "--dead", "5,77", "--stall", "key:a", "--yes", "--json")
    assert (some.code, some.json["stalled"], some.json["dead"], some.json["missing"]) == (1, 1, 1, ["77"])
    assert database.execute("SELECT array_agg(id ORDER BY id) FROM rmqpool_outbox").fetchone() == ([1, 2, 6],)
    assert outbox("replay", "--all", "--yes").out == "1 stalled keys and 0 dead rows replayed\n"


def test_the_first_row_of_a_stalled_key_is_skipped(outbox: Run, database: psycopg.Connection[Any]) -> None:
    """It is listed among the dead rows; what does not stall is a sentence, and 6."""
    assert "would go to the dead rows; 1 of 'key:a' are left" in outbox("skip", "key:a", "--dry-run").out
    assert outbox("skip", "key:a", "--yes", "--json").json["left"] == 1
    assert [row["id"] for row in outbox("dead", "--json").json["dead"]] == [5, 3]
    wrong = outbox("skip", "key:nope", "--yes")
    assert (wrong.code, len(wrong.err.splitlines())) == (6, 1)


def test_old_rows_are_removed(outbox: Run, database: psycopg.Connection[Any]) -> None:
    """Only what was named, and only what is older."""
    assert outbox("prune", "--inbox-older-than", "30d", "--dry-run", "--json").json["inbox"] == 1
    assert outbox("prune", "--inbox-older-than", "30d", "--dead-older-than", "30d", "--yes").out == (
        "1 marks of the inbox and 0 dead rows removed\n"
    )
    assert outbox("prune", "--dead-older-than", "0s", "--yes", "--json").json["dead"] == 1


@pytest.mark.parametrize(
    "arguments",
    [("replay", "--all"), ("skip", "key:a"), ("prune", "--inbox-older-than", "30d")],
    ids=lambda told: told[0],
)
def test_nothing_is_changed_without_a_yes(
    rmqpool: Run, postgres_url: str, database: psycopg.Connection[Any], arguments: tuple[str, ...]
) -> None:
    """Where nobody can answer, it says so and names both ways out."""
    tables = ("outbox", "held", "dead", "stalled", "inbox")

    def everything() -> list[Any]:
        return [database.execute(f"SELECT * FROM rmqpool_{table} ORDER BY 1".encode()).fetchall() for table in tables]

    before = everything()
    ended = rmqpool("outbox", *arguments, "--url", postgres_url, stdin="")
    assert ended.code == 2
    assert "--yes" in ended.err
    assert "--dry-run" in ended.err
    assert everything() == before


def stages(told: dict[str, Any]) -> dict[str, str]:
    """Stage -> its state."""
    return {finding["stage"]: finding["state"] for finding in told["findings"]}


def test_a_healthy_outbox_is_well(outbox: Run, postgres_url: str) -> None:
    """Exit code 0, with a relay alive."""
    with closing(connect(postgres_url)) as connection:
        migrate(connection, TABLES)
        connection.execute(f"SELECT pg_advisory_lock_shared({lock_class(TABLES.outbox)}, -2)".encode())
        ended = outbox("doctor", "--json")
    assert ended.code == 0, ended.text
    assert ended.json["server"].startswith("PostgreSQL ")
    expected = "schema server ids autovacuum bloat vacuum relays lag stalled"
    assert stages(ended.json) == {**dict.fromkeys(expected.split(), "ok"), "broker": "skipped"}


def test_the_doctor_names_what_is_wrong(outbox: Run, database: psycopg.Connection[Any], postgres_url: str) -> None:
    """Rows that nobody sends, who holds back vacuum with pid and query, tables that are not tuned."""
    database.execute("ALTER TABLE rmqpool_inbox RESET (autovacuum_vacuum_scale_factor)")
    with closing(psycopg.connect(postgres_url)) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 'the report'")
        ended = outbox("doctor", "--json")
        told = {finding["stage"]: finding for finding in ended.json["findings"]}
        assert ended.code == 1
        assert told["relays"]["state"] == "problem"
        assert told["lag"]["facts"]["waiting"]["rows"] == 2
        assert (told["stalled"]["state"], told["dead"]["state"]) == ("warning", "warning")
        assert (told["autovacuum"]["state"], told["autovacuum"]["facts"]["table"]) == ("warning", "inbox")
        assert told["vacuum"]["facts"]["name"] == str(reader.info.backend_pid)
        assert "SELECT 'the report'" in told["vacuum"]["text"]
        text = outbox("doctor")
        assert "no relay is alive" in text.out
        assert "1 problem, 3 warnings" in text.out


def test_the_doctor_tells_what_keeps_it_from_looking(outbox: Run, inline: Run) -> None:
    """No tables, no server: a problem with what to do, and 1."""
    ended = outbox("doctor", "--json")
    assert (ended.code, stages(ended.json)) == (1, {"schema": "problem", "tables": "skipped", "broker": "skipped"})
    port = ReservedPort()
    away = inline("outbox", "doctor", "--json", "--url", f"postgresql://tests:{MARK}x@127.0.0.1:{port.number}/x")
    port.release()
    assert (away.code, stages(away.json)) == (1, {"connect": "problem", "broker": "skipped"})


def test_the_doctor_looks_at_the_ids_and_the_broker(
    outbox: Run, database: psycopg.Connection[Any], vhost_url: str
) -> None:
    """A cache in the sequence is a problem. A broker that is not there is one line beside all others."""
    database.execute("ALTER TABLE rmqpool_outbox ALTER COLUMN id SET CACHE 20")
    port = ReservedPort()
    away = outbox("doctor", "--json", "--broker", f"amqp://u:{MARK}@127.0.0.1:{port.number}/")
    port.release()
    told = {finding["stage"]: finding for finding in away.json["findings"]}
    assert (told["ids"]["state"], told["ids"]["facts"]["cache"]) == ("problem", 20)
    assert (told["broker"]["state"], told["broker"]["text"].startswith("no broker: ")) == ("problem", True)
    assert {"relays", "lag", "stalled", "vacuum"} <= set(told)
    there = outbox("doctor", "--json", "--broker", vhost_url)
    assert stages(there.json)["broker"] == "ok"


@pytest.mark.parametrize("command", ["status", "stalled", "dead", "doctor"])
def test_on_a_terminal_it_is_drawn(
    commands: Prepared, command: str, postgres_url: str, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """As the other tables and doctors are."""
    code, shown = on_a_terminal(commands, ["outbox", command, "--url", postgres_url], tmp_path, "stdout")
    assert code == (1 if command == "doctor" else 0)
    assert "\t" not in shown
    assert {"status": "waiting", "stalled": "key:a", "dead": "orders", "doctor": "relays"}[command] in shown


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("migrate", "--up-to", "99"), 2, "--up-to"),
        (("migrate", "--after", "1"), 2, "--sql"),
        (("replay",), 2, "--all"),
        (("replay", "--all", "--dead", "1"), 2, "--all"),
        (("replay", "--dead", "one"), 2, "rmqpool outbox dead"),
        (("prune",), 2, "--inbox-older-than"),
        (("prune", "--dead-older-than", "30"), 2, "30d"),
        (("relay", "--order", "random"), 2, "--order"),
        (("status", "--prefix", "p" * 60), 3, "prefix"),
        (("status", "--schema", "x" * 64), 3, "schema"),
        (("status",), 6, "rmqpool outbox migrate"),
        (("prune", "--dead-older-than", "30d", "--yes"), 6, "rmqpool outbox migrate"),
        (("status", "--url", "amqp://host/"), 3, "postgresql://"),
        (("relay", "--url", f"postgresql://u:{MARK}1/x@h/d"), 3, "postgresql://"),
        (("status", "--max-lag", "5"), 2, "RMQPOOL_POSTGRES_REPLICA_URL"),
        (("doctor", "--max-lag", "5"), 2, "RMQPOOL_POSTGRES_REPLICA_URL"),
        (("dead", "--replica-url", f"postgresql://u:{MARK}1/x@h/d"), 3, "the replica's URL"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_exit_code(
    outbox: Run, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """And what to do instead."""
    ended = outbox(*arguments)
    assert (ended.code, len(ended.err.strip().splitlines())) == (code, 1), ended.text
    assert told in ended.err


def test_without_a_database_it_says_how_to_name_one(inline: Run) -> None:
    """Exit code 3, for every command that needs one."""
    for arguments in (("status",), ("migrate",), ("doctor",), ("relay",), ("skip", "key:a")):
        ended = inline("outbox", *arguments)
        assert (ended.code, "RMQPOOL_POSTGRES_URL" in ended.err) == (3, True), ended.text


def test_a_server_that_is_not_there_is_a_sentence_without_the_password(inline: Run) -> None:
    """Exit code 4; the URL's password is nowhere."""
    port = ReservedPort()
    for more in ((), ("--json",)):
        ended = inline("outbox", "status", "--url", f"postgresql://u:{MARK}@127.0.0.1:{port.number}/x", *more)
        assert ended.code == 4
        assert "Traceback" not in ended.text
    port.release()


def test_the_urls_password_is_not_shown_among_the_settings(inline: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a secret."""
    monkeypatch.setenv("RMQPOOL_POSTGRES_URL", f"postgresql://u:{MARK}@h/d")
    assert "postgres_url\t**********\tenvironment RMQPOOL_POSTGRES_URL" in inline("config", "show").out
