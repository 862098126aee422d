"""New code for running workers: SIGHUP, one process after the other, and ``--reload`` for who develops."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from rmqpool import Publisher, Queue
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import Run
from tests.acceptance.supervised import SHOP, supervised


def test_three_reloads_under_load_lose_nothing(vhost_url: str, tmp_path: Path) -> None:
    """2,000 messages: each handled once, by old and new processes, two of which run at every moment."""
    with (
        Publisher(vhost_url, declare=[Queue("orders")]) as publisher,
        supervised(tmp_path, "--processes", "2", "--url", vhost_url) as run,
    ):
        run.said("all 2 processes of shop:worker are ready")
        for turn in range(3):
            first = turn * 600
            publisher.publish_many("orders", [{"id": first + number, "seconds": 0.01} for number in range(600)])
            run.signal(signal.SIGHUP)
            run.said("reloaded: all 2 processes of shop:worker are new", times=turn + 1)
            assert len(run.running()) == 2
        publisher.publish_many("orders", [{"id": 1800 + number} for number in range(200)])
        wait_until(lambda: len(run.handled()) == 2000, "all orders", timeout=30)
        run.signal(signal.SIGTERM)
        assert run.end() == 0
        assert run.handled() == dict.fromkeys(range(2000), 1)
        assert len(run.started()) == 8
        assert len({pid for pid, _ in run.noted("handled")}) > 2


def test_a_reload_under_load_keeps_the_order_of_a_single_active_consumer(vhost_url: str, tmp_path: Path) -> None:
    """The new process is ready while it waits for its turn; it begins when the old one has ended what it had in hand."""
    module = SHOP.replace('"orders", concurrency=4', "queue, concurrency=1").replace(
        "from rmqpool import Worker",
        "from rmqpool import Queue, Worker\nqueue = Queue('orders', single_active_consumer=True)",
    )
    queue = Queue("orders", single_active_consumer=True)
    with (
        Publisher(vhost_url, declare=[queue]) as publisher,
        supervised(tmp_path, "--processes", "2", "--url", vhost_url, module=module) as run,
    ):
        run.said("all 2 processes of shop:worker are ready", timeout=60)
        publisher.publish_many("orders", [{"id": number, "seconds": 0.02} for number in range(300)])
        wait_until(lambda: len(run.noted("handled")) > 10, "the first orders", timeout=30)
        run.signal(signal.SIGHUP)
        run.said("reloaded: all 2 processes of shop:worker are new", timeout=60)
        wait_until(lambda: len(run.noted("handled")) >= 300, "all orders", timeout=60)
        run.signal(signal.SIGTERM)
        assert run.end(60) == 0
        assert [order for _, order in run.noted("begun")] == list(range(300))
        assert [order for _, order in run.noted("handled")] == list(range(300))
        assert len({pid for pid, _ in run.noted("handled")}) > 1


def test_a_new_process_that_fails_leaves_the_old_ones(vhost_url: str, tmp_path: Path) -> None:
    """It is told, the others are the same and work on; the next reload, with the mistake corrected, succeeds."""
    with (
        Publisher(vhost_url, declare=[Queue("orders")]) as publisher,
        supervised(tmp_path, "--processes", "2", "--url", vhost_url) as run,
    ):
        run.said("all 2 processes of shop:worker are ready")
        before = run.running()
        (tmp_path / "shop.py").write_text("def broken(:\n")
        run.signal(signal.SIGHUP)
        run.said("is given up: the new process 1 ended with 3; 0 of 2 are new, the others stay as they are")
        assert "SyntaxError" in run.log
        wait_until(lambda: run.running() == before, "only the old ones", timeout=10)
        publisher.publish("orders", {"id": 7})
        wait_until(lambda: run.handled() == {7: 1}, "the order", timeout=10)
        (tmp_path / "shop.py").write_text(SHOP)
        run.signal(signal.SIGHUP)
        run.said("reloaded: all 2 processes of shop:worker are new")
        assert not set(run.running()) & set(before)


def test_a_new_process_that_does_not_get_ready_leaves_the_old_ones(vhost_url: str, tmp_path: Path) -> None:
    """--ready-timeout is how long it may take; two SIGHUPs at once are one reload after the other."""
    with supervised(tmp_path, "--processes", "1", "--ready-timeout", "1.5", "--url", vhost_url) as run:
        run.said("all 1 processes of shop:worker are ready")
        before = run.running()
        (tmp_path / "shop.py").write_text("import threading; threading.Event().wait(60)\n")
        run.signal(signal.SIGHUP)
        run.said("started (pid", times=2)
        run.signal(signal.SIGHUP)
        run.said("the new process 1 was not ready within 1.5 s", times=2)
        wait_until(lambda: run.running() == before, "only the old one", timeout=10)


def test_a_change_restarts_and_a_mistake_waits_for_the_next_change(vhost_url: str, tmp_path: Path) -> None:
    """--reload: the syntax error is shown where it is; nothing is started until a file changes again."""
    with (
        Publisher(vhost_url, declare=[Queue("orders")]) as publisher,
        supervised(tmp_path, "--reload", "--url", vhost_url) as run,
    ):
        run.said("all 1 processes of shop:worker are ready")
        (tmp_path / "shop.py").write_text(SHOP + "\ndef broken(:\n")
        run.said("shop.py has changed: restarting")
        run.said("it is started again when a file changes")
        assert "SyntaxError" in run.log
        assert run.running() == []
        (tmp_path / "shop.py").write_text(SHOP.replace('note("handled", order)', 'note("handled", {"id": 42})'))
        publisher.publish("orders", {"id": 7})
        wait_until(lambda: run.handled() == {42: 1}, "the new code", timeout=20)
        assert len(run.started()) == 3
        (tmp_path / "notes.txt").write_text("no code")
        run.signal(signal.SIGHUP)  # the terminal is gone
        assert run.end() == 0
        assert len(run.started()) == 3


def test_a_mistake_at_the_start_waits_for_a_change_too(vhost_url: str, tmp_path: Path) -> None:
    """Whoever has just begun has most of them."""
    with supervised(tmp_path, "--reload", "--url", vhost_url, module="import nothing_of_that_name\n") as run:
        run.said("it is started again when a file changes")
        assert "nothing_of_that_name" in run.log
        (tmp_path / "shop.py").write_text(SHOP)
        run.said("all 1 processes of shop:worker are ready")
        run.signal(signal.SIGINT)
        assert run.end() == 0


def test_reload_without_watchfiles_is_a_sentence(inline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(__import__("sys").modules, "watchfiles", None)
    ended = inline("worker", "shop:worker", "--reload")
    assert ended.code == 3
    assert "--reload needs watchfiles: pip install 'rmqpool[reload]'" in ended.err
