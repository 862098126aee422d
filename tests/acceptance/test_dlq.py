"""``rmqpool dlq`` as users run it: looking, replaying through kills, files, and questions."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prepared import Prepared

from rmqpool import Queue
from rmqpool import headers as names
from rmqpool.dlq import letter_of
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import Begin, Run, environment, on_a_terminal
from tests.integration.dlq.conftest import Shop, names_of

KILLS = 3


@pytest.fixture
def shop(vhost_url: str) -> Iterator[Shop]:
    """Orders and their dead letters."""
    made = Shop(vhost_url)
    yield made
    made.pool.close()


@pytest.mark.parametrize(("count", "window"), [(400, 1), (5000, 100)])
def test_a_replay_that_is_killed_three_times_loses_none(shop: Shop, begin: Begin, count: int, window: int) -> None:
    """Thousands of dead letters, kill -9 in the middle: all arrive; each kill doubles at most what was in hand."""
    shop.park(range(count))
    command = ("dlq", "replay", "orders", "--window", str(window), "--url", shop.url, "--json")

    def arrived(least: int) -> None:
        wait_until(lambda: shop.count("orders") >= least, f"{least} to arrive", timeout=60)

    for number in range(1, KILLS + 1):
        killed = begin(*command)
        arrived(number * count // (KILLS + 2))
        killed.signal(signal.SIGKILL)
        assert killed.end().code == -signal.SIGKILL, "it was over before it was killed"
        # The broker notices, and puts back what was held.
        wait_until(lambda: shop.count("orders") + shop.count("orders.dead") >= count, "all to be ready", timeout=20)
    ended = begin(*command).end()
    assert ended.code == 0, ended.text
    ids = Counter(delivery.message_id for delivery in shop.take_all("orders"))
    doubled = ids.total() - count
    print(f"window {window}: {KILLS} kills, {doubled} doubled, the last run replayed {ended.json['replayed']}")
    assert set(ids) == set(names_of(range(count)))
    assert doubled <= KILLS * window
    assert shop.count("orders.dead") == 0


def test_an_export_that_removes_and_is_killed_loses_none(shop: Shop, begin: Begin, tmp_path: Path) -> None:
    """Every message is in the file, in the queue, or in both; only the last line may be cut."""
    count = 4000
    shop.park(range(count))
    killed = begin("dlq", "export", "orders", "dead.jsonl", "--remove", "--url", shop.url)
    file = tmp_path / "dead.jsonl"
    wait_until(lambda: file.exists() and file.stat().st_size > 300_000, "some lines", timeout=30)
    killed.signal(signal.SIGKILL)
    assert killed.end().code == -signal.SIGKILL, "it was over before it was killed"
    whole = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    written = {letter_of(line).message_id for line in whole}
    wait_until(lambda: len(written) + shop.count("orders.dead") >= count, "all to be ready", timeout=20)
    left = {delivery.message_id for delivery in shop.take_all("orders.dead")}
    print(f"{len(written)} written, {len(left)} left, {len(written & left)} in both")
    assert written | left == set(names_of(range(count)))
    assert 0 < len(left) < count


def test_ctrl_c_ends_a_replay_between_two_messages(shop: Shop, begin: Begin) -> None:
    """Nothing is lost or doubled, the summary says how far it came, and the exit code is 130."""
    shop.park(range(300))
    process = begin("dlq", "replay", "orders", "--rate", "100", "--url", shop.url)
    wait_until(lambda: shop.count("orders") >= 20, "the first to arrive", timeout=20)
    process.signal(signal.SIGINT)
    ended = process.end()
    assert ended.code == 130, ended.text
    assert "start it again to go on" in ended.err
    arrived = shop.ids("orders")
    assert arrived == names_of(range(len(arrived)))
    assert ended.out.startswith(f"{len(arrived)} replayed, 0 not, of 300 in orders.dead")
    shop.wait_count("orders.dead", 300 - len(arrived))


def test_ls_and_show_tell_what_happened(shop: Shop, inline: Run) -> None:
    """A table, a page, objects for machines; nothing is taken away."""
    shop.park(range(3), age=7200, **{names.EXCEPTION_TYPE: "KeyError", names.EXCEPTION_TRACEBACK: "File \x1b[31mx"})
    listed = inline("dlq", "ls", "orders", "--where", "header.number > 0", "--url", shop.url)
    assert listed.code == 0, listed.text
    assert [line.split("\t")[1] for line in listed.out.splitlines()] == ["message id", "m1", "m2"]
    assert "\torders\texception\t1\t2 h 0 min ago\tKeyError" in listed.out
    assert "2 of 3 dead letters in orders.dead" in listed.err
    shown = inline("dlq", "show", "orders", "m2", "--url", shop.url)
    assert "message m2, number 3 of orders.dead" in shown.out
    assert '"id": 2' in shown.out
    assert "\x1b" not in shown.out, "a message must not steer the terminal"
    assert inline("dlq", "show", "orders", "m1", "--raw", "--url", shop.url).out == '{"id":1}'
    (told,) = inline("dlq", "show", "orders.dead", "--json", "--url", shop.url).json["letters"]
    assert (told["message_id"], told["headers"]["number"], told["body"]) == ("m0", 0, '{"id":0}')
    assert inline("dlq", "show", "orders", "none", "--url", shop.url).code == 1
    assert shop.ids("orders.dead") == names_of(range(3))


def test_a_message_that_cannot_go_back_is_an_exit_code_of_1(shop: Shop, inline: Run) -> None:
    """It is named with the reason; a dry run tells before where all would go."""
    shop.park(range(2))
    shop.park(range(2, 3), queue="gone")
    dry = inline("dlq", "replay", "orders", "--dry-run", "--json", "--url", shop.url)
    assert (dry.code, dry.json["to"], dry.json["total"]) == (0, {"orders": 2, "gone": 1}, 3)
    ended = inline("dlq", "replay", "orders", "--url", shop.url)
    assert ended.code == 1
    assert ended.out.startswith("2 replayed, 1 not, of 3 in orders.dead")
    assert "not replayed: m2: " in ended.err
    assert inline("dlq", "replay", "orders", "--to", "orders", "--url", shop.url).code == 0
    assert shop.ids("orders") == names_of(range(3))


def test_wrong_usage_is_told_before_anything_is_touched(shop: Shop, inline: Run) -> None:
    """A condition with its column, a time, a queue of work, a purge that nobody confirms."""
    shop.park(range(2))
    shop.pool.declare_once([Queue("plain", dead_letter=None)])
    url = ("--url", shop.url)
    wrong = inline("dlq", "ls", "orders", "--where", "age > now()", *url)
    assert wrong.code == 2
    assert "column 7: a call is not allowed" in wrong.err
    assert "--since must be an age" in inline("dlq", "ls", "orders", "--since", "yesterday", *url).err
    unknown = inline("dlq", "purge", "plain", "--yes", *url)
    assert unknown.code == 6
    assert "no queue 'plain.dead'" in unknown.err
    unasked = inline("dlq", "purge", "orders", *url)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert inline("dlq", "export", "orders", "-", "--remove", *url).code == 2
    assert shop.count("orders.dead") == 2


def test_exported_removed_and_imported_they_can_be_replayed(shop: Shop, inline: Run, tmp_path: Path) -> None:
    """The file holds them meanwhile; it is never overwritten."""
    shop.park(range(20))
    url = ("--url", shop.url)
    stdout = inline("dlq", "export", "orders", "--limit", "2", *url)
    assert [json.loads(line)["body"] for line in stdout.out.splitlines()] == ['{"id":0}', '{"id":1}']
    exported = inline("dlq", "export", "orders", "dead.jsonl", "--remove", *url)
    assert exported.out == "20 exported, 20 removed from orders.dead\n", exported.text
    assert shop.count("orders.dead") == 0
    again = inline("dlq", "export", "orders", "dead.jsonl", *url)
    assert (again.code, "is there already" in again.err) == (5, True)
    assert (
        "20 messages of dead.jsonl can be imported" in inline("dlq", "import", "orders", "dead.jsonl", "--dry-run").out
    )
    imported = inline("dlq", "import", "orders", "dead.jsonl", "--json", *url)
    assert (imported.code, imported.json["outcomes"]["confirmed"]) == (0, 20), imported.text
    assert inline("dlq", "replay", "orders", "--window", "10", *url).code == 0
    assert shop.ids("orders") == names_of(range(20))


def test_a_file_that_was_cut_is_told_by_its_line(shop: Shop, inline: Run, tmp_path: Path) -> None:
    """The lines before it are in."""
    shop.park(range(5))
    url = ("--url", shop.url)
    assert inline("dlq", "export", "orders", "dead.jsonl", "--remove", *url).code == 0
    whole = (tmp_path / "dead.jsonl").read_bytes()
    (tmp_path / "dead.jsonl").write_bytes(whole[:-20])
    ended = inline("dlq", "import", "orders", "dead.jsonl", *url)
    assert ended.code == 5
    assert "dead.jsonl:5: not JSON" in ended.err
    assert "cut off here" in ended.err
    assert ended.out.startswith("into orders.dead: 4 confirmed")
    assert shop.ids("orders.dead") == names_of(range(4))


def test_a_purge_asks_and_takes_no_for_an_answer(shop: Shop, inline: Run, tmp_path: Path) -> None:
    """On a terminal; with --yes it does not ask."""
    shop.park(range(5))
    url = ("--url", shop.url)
    for answer, left in ((b"n\n", 5), (b"y\n", 3)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "rmqpool", "dlq", "purge", "orders", "--where", "header.number < 2", *url],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=tmp_path,
        )
        os.close(theirs)
        os.write(ours, answer)
        out, err = process.communicate(timeout=20)
        os.close(ours)
        assert "Remove 2 dead letters from orders.dead, for good?" in err + out
        shop.wait_count("orders.dead", left)
    dry = inline("dlq", "purge", "orders", "--dry-run", *url)
    assert dry.out == "3 of 3 messages would be removed from orders.dead\n"
    shop.wait_count("orders.dead", 3)
    first = inline("dlq", "purge", "orders", "--yes", "--limit", "1", *url)
    assert first.out == "1 messages were removed from orders.dead, 2 stay\n", first.text  # not looked at: they stay too
    ended = inline("dlq", "purge", "orders", "--yes", *url)
    assert ended.out == "2 messages were removed from orders.dead, 0 stay\n", ended.text
    assert shop.count("orders.dead") == 0


def test_a_replay_shows_its_progress_on_a_terminal(commands: Prepared, shop: Shop, tmp_path: Path) -> None:
    """On stderr, with how many there are."""
    shop.park(range(30))
    code, shown = on_a_terminal(commands, ["dlq", "replay", "orders", "--url", shop.url], tmp_path, "stderr")
    assert code == 0
    assert "30/30" in shown
    assert "30 replayed" in shown
