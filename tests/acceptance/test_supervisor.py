"""``rmqpool worker --processes``: processes that are killed, that hang, that end; the supervisor killed; a stop in good order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rmqpool import Publisher, Queue
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import Run, environment
from tests.acceptance.supervised import SHOP, Supervised, supervised


def publish(url: str, count: int, **fields: object) -> None:
    """Orders 0 to count - 1."""
    with Publisher(url, declare=[Queue("orders")]) as publisher:
        publisher.publish_many("orders", [{"id": number, **fields} for number in range(count)])


def handles(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for a signal, as the kernel has it."""
    text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    (caught,) = [line.split()[1] for line in text.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_killed_process_loses_nothing_and_is_replaced(vhost_url: str, tmp_path: Path) -> None:
    """It held messages: the others handle them, and there are three processes again."""
    with supervised(tmp_path, "--processes", "3", "--url", vhost_url) as run:
        run.said("all 3 processes of shop:worker are ready", timeout=40)
        publish(vhost_url, 600, seconds=0.02)
        wait_until(lambda: len({pid for pid, _ in run.noted("handled")}) == 3, "three that handle", timeout=20)
        victim = run.noted("handled")[0][0]
        os.kill(victim, signal.SIGKILL)
        run.said("ended by SIGKILL: another one starts in")
        wait_until(lambda: len(run.handled()) == 600, "all orders", timeout=30)
        wait_until(lambda: len(run.running()) == 3, "three processes again", timeout=10)
        assert len(run.started()) == 4
        assert sum(run.handled().values()) <= 600 + 16  # what it had handled and not acknowledged comes again
        run.signal(signal.SIGTERM)
        assert run.end() == 0
        assert run.running() == []


def test_a_stop_lets_handlers_finish(vhost_url: str, tmp_path: Path) -> None:
    """Also if a service manager sends the signal to every process besides: nobody takes that for a second one."""
    publish(vhost_url, 4, seconds=1.5)
    with supervised(tmp_path, "--processes", "2", "--url", vhost_url) as run:
        wait_until(lambda: len(run.noted("begun")) == 4, "all begun", timeout=20)
        run.said("all 2 processes of shop:worker are ready")
        for pid in (run.popen.pid, *run.running()):
            os.kill(pid, signal.SIGTERM)
        assert run.end() == 0, run.log
        assert run.running() == []
        assert run.handled() == dict.fromkeys(range(4), 1)
        assert "0 abandoned" in run.log


def test_a_second_signal_kills(vhost_url: str, tmp_path: Path) -> None:
    """The code is that of the signal; the messages are in their queue again."""
    publish(vhost_url, 1, seconds=60)
    with supervised(tmp_path, "--processes", "2", "--grace", "60", "--url", vhost_url) as run:
        wait_until(lambda: run.noted("begun"), "one begun", timeout=20)
        run.signal(signal.SIGINT)
        run.said("a second signal kills")
        run.signal(signal.SIGTERM)
        assert run.end(5) == 128 + signal.SIGTERM
        assert run.running() == []


def test_the_processes_of_a_killed_supervisor_stop_in_good_order(vhost_url: str, tmp_path: Path) -> None:
    """They finish what they have in hand, and none is left behind."""
    publish(vhost_url, 4, seconds=1)
    with supervised(tmp_path, "--processes", "2", "--url", vhost_url) as run:
        wait_until(lambda: len(run.noted("begun")) == 4, "all begun", timeout=20)
        # one of them may have begun all four; where the other did not listen for this, it would stay for ever if it hung
        wait_until(lambda: all(handles(pid, signal.SIGRTMAX) for pid in run.running()), "both to listen", timeout=30)
        run.signal(signal.SIGKILL)
        wait_until(lambda: not run.running(), "the end of all", timeout=15)
        assert run.handled() == dict.fromkeys(range(4), 1)
        assert "the supervisor of this worker is gone: stopping" in run.log


def test_a_process_that_hangs_tells_where_and_is_replaced(vhost_url: str, tmp_path: Path) -> None:
    """Its handler holds the interpreter's lock: no thread of it runs. Its messages are handled by the next one."""
    with supervised(tmp_path, "--processes", "1", "--hang-timeout", "2.5", "--url", vhost_url) as run:
        run.said("all 1 processes of shop:worker are ready")
        publish(vhost_url, 3, hang=True)
        run.said("hangs: no sign of life for")
        run.said("ended by SIGABRT: another one starts")
        wait_until(lambda: len(run.handled()) == 3, "all orders", timeout=20)
        assert "Fatal Python error: Aborted" in run.log
        assert 'shop.py", line 19 in handle' in run.log
        run.signal(signal.SIGTERM)
        assert run.end() == 0


def test_a_process_that_is_stopped_from_outside_is_replaced(vhost_url: str, tmp_path: Path) -> None:
    """It ends with 0, as it was told; the supervisor keeps the number."""
    with supervised(tmp_path, "--processes", "2", "--url", vhost_url) as run:
        run.said("all 2 processes of shop:worker are ready")
        os.kill(run.running()[0], signal.SIGTERM)
        run.said("ended with 0: another one starts in")
        wait_until(lambda: len(run.started()) == 3 and len(run.running()) == 2, "two again", timeout=10)
        run.signal(signal.SIGTERM)
        assert run.end() == 0


def test_a_crash_loop_slows_down(tmp_path: Path) -> None:
    """A module that kills its interpreter: each pause is longer than the one before."""
    module = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with supervised(tmp_path, "--processes", "1", module=module) as run:
        run.said("another one starts in", times=3, timeout=60)
        pauses = [float(text.split()[0]) for text in run.log.split("another one starts in ")[1:]]
        assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2 <= pauses[2] <= 4
        run.signal(signal.SIGTERM)
        assert run.end() == 0


def test_a_burst_of_processes_ends_with_0(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """When each has found its queues empty."""
    publish(vhost_url, 200, seconds=0.01)
    with supervised(tmp_path, "--processes", "2", "--burst", "--url", vhost_url) as run:
        assert run.end(30) == 0, run.log
        assert run.handled() == dict.fromkeys(range(200), 1)


def test_what_no_new_process_mends_ends_all_and_is_told_once(rmqpool: Run, tmp_path: Path) -> None:
    """With the worker's own exit code; with --json one object on stdout."""
    (tmp_path / "shop.py").write_text("from rmqpool import Worker\nworker = Worker('shop')\n1 / 0\n")
    ended = rmqpool("worker", "shop:worker", "--processes", "3", "--json")
    assert ended.code == 3, ended.text
    assert "ZeroDivisionError" in ended.json["error"]["message"]
    assert ended.err.count("started (pid") == 1
    wrong = rmqpool("worker", "shop", "--processes", "3")
    assert wrong.code == 3
    assert "is not MODULE:WORKER" in wrong.err
    assert "started" not in wrong.err


def test_a_password_of_the_command_line_is_in_no_other_command_line(tmp_path: Path) -> None:
    """Processes get the URL in their environment, which only their user can read."""
    with supervised(tmp_path, "--processes", "1", "--url", "amqp://me:hunter2secret@127.0.0.1:1/") as run:
        run.said("started (pid")
        (pid,) = run.started()
        assert b"hunter2secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        wait_until(lambda: "waits for the broker" in run.log, "an attempt", timeout=20)
        assert "hunter2secret" not in run.log
        run.signal(signal.SIGTERM)
        assert run.end() == 0


def test_nothing_of_the_tie_reaches_a_handlers_own_programs(vhost_url: str, tmp_path: Path) -> None:
    """Neither the variable nor the descriptor: a program that outlives the worker keeps nobody waiting."""
    module = """
import json, os, subprocess, sys
from rmqpool import Worker
worker = Worker("shop")
@worker.consumer("orders")
def handle(order: dict) -> None:
    code = "import os, json; print(json.dumps([sorted(os.environ), os.listdir('/proc/self/fd')]))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, close_fds=False).stdout
    with open("told.new", "w") as file:
        file.write(told)
    os.rename("told.new", "told")
"""
    publish(vhost_url, 1)
    with supervised(tmp_path, "--processes", "1", "--url", vhost_url, module=module, NOTIFY_SOCKET="/nowhere") as run:
        wait_until((tmp_path / "told").exists, "the program", timeout=20)
        names, descriptors = json.loads((tmp_path / "told").read_text())
        assert not {"RMQPOOL_SUPERVISOR_FD", "NOTIFY_SOCKET"} & set(names)
        assert len(descriptors) == 4  # the three standard ones, and the folder that is being listed
        started = time.monotonic()
        run.signal(signal.SIGTERM)
        assert run.end() == 0
        assert time.monotonic() - started < 10


# Sends itself the signal while typer is being imported: long before anything has a handler.
EARLY = """
import os, signal, sys

class Early:
    def find_spec(self, name, *others):
        if name == "typer":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{name})

sys.meta_path.insert(0, Early())
from rmqpool.cli.entry import main
main()
"""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_a_signal_that_comes_while_the_supervisor_is_loaded_does_not_end_it_unheard(name: str, tmp_path: Path) -> None:
    """A reload has nothing to replace yet, and what starts hears of both; a stop is a stop in good order, with 0."""
    (tmp_path / "shop.py").write_text(SHOP)
    log = tmp_path / "log"
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            [sys.executable, "-c", EARLY.format(name=name), "worker", "shop:worker", "--processes=1"],
            stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, cwd=tmp_path,
            env=environment(RMQPOOL_URL="amqp://guest:guest@127.0.0.1:1/"),
        )  # fmt: skip
    run = Supervised(popen, tmp_path, log)
    try:
        if name == "SIGHUP":
            run.said("waits for the broker", timeout=60)
            assert all(handles(pid, signal.SIGTERM) for pid in run.running())
            run.signal(signal.SIGTERM)
        assert run.end(60) == 0, run.log
        assert run.running() == []
        assert "is replaced" not in run.log
    finally:
        popen.kill()
        popen.wait(10)
