"""Liveness and readiness as probes and systemd see them: of a single worker, and of a supervisor's together."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from rmqpool import Publisher, Queue
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import Run
from tests.acceptance.supervised import Supervised, supervised

KINDS = pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["alone", "supervised"])
AWAY = ("--url", "amqp://guest:guest@127.0.0.1:1/")


def port_of(run: Supervised) -> int:
    """Where it answers, as it says."""
    run.said("health checks at http://127.0.0.1:")
    return int(run.log.partition("health checks at http://127.0.0.1:")[2].partition("/")[0])


def ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Status and object."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@KINDS
def test_a_worker_without_a_broker_is_alive_and_not_ready(processes: tuple[str, ...], tmp_path: Path) -> None:
    """Over HTTP and in files."""
    files = ("--live-file", "live", "--ready-file", "ready")
    with supervised(tmp_path, *processes, *files, "--health", "127.0.0.1:0", *AWAY) as run:
        run.said("waits for the broker")
        port = port_of(run)
        assert ask(port, "/live")[0] == 200
        status, told = ask(port, "/ready")
        assert (status, told["alive"], told["ready"], told["state"]) == (503, True, False, "starting")
        if not processes:
            assert (told["pool"]["state"], told["pool"]["kind"]) == ("down", "reconnecting")
        assert (tmp_path / "live").exists()
        assert not (tmp_path / "ready").exists()
        run.signal(signal.SIGTERM)
        assert run.end() == 0
        assert not (tmp_path / "live").exists()


@KINDS
def test_readiness_follows_the_broker_and_liveness_does_not(
    processes: tuple[str, ...], broker: RabbitMQNode, vhost: str, tmp_path: Path
) -> None:
    """Ready; the connections are cut and refused, not ready; they are let through again, ready. Alive all the time."""
    with FaultProxy((broker.host, broker.port)) as proxy:
        url = broker.amqp_url(vhost=vhost, host="127.0.0.1", port=proxy.port)
        with supervised(tmp_path, *processes, "--health", "127.0.0.1:0", "--ready-file", "ready", "--url", url) as run:
            port = port_of(run)
            wait_until(lambda: ask(port, "/ready")[0] == 200, "ready", timeout=20)
            assert (tmp_path / "ready").exists()
            proxy.refuse()
            proxy.reset()
            wait_until(lambda: ask(port, "/ready")[0] == 503, "unready", timeout=20)
            wait_until(lambda: not (tmp_path / "ready").exists(), "no file", timeout=5)
            assert ask(port, "/live")[0] == 200
            proxy.heal()
            wait_until(lambda: ask(port, "/ready")[0] == 200, "ready again", timeout=20)
            assert ask(port, "/live")[1]["state"] == "running"


def test_a_worker_whose_interpreter_hangs_is_not_alive(vhost_url: str, tmp_path: Path) -> None:
    """It answers no probe, and its file gets old."""
    live = tmp_path / "live"
    with supervised(tmp_path, "--health", "127.0.0.1:0", "--live-file", "live", "--url", vhost_url) as run:
        port = port_of(run)
        wait_until(lambda: ask(port, "/ready")[0] == 200, "ready", timeout=20)
        with Publisher(vhost_url, declare=[Queue("orders")]) as publisher:
            publisher.publish("orders", {"id": 1, "hang": True})
        wait_until((tmp_path / "hung").exists, "a handler that hangs", timeout=10)
        touched = live.stat().st_mtime
        with pytest.raises(TimeoutError):
            ask(port, "/live")
        assert live.stat().st_mtime == touched


def test_the_supervisor_tells_of_each_process(vhost_url: str, tmp_path: Path) -> None:
    """Not ready while one of them is missing; alive, as it replaces that one itself."""
    with supervised(tmp_path, "--processes", "2", "--health", "127.0.0.1:0", "--url", vhost_url) as run:
        port = port_of(run)
        wait_until(lambda: ask(port, "/ready")[0] == 200, "ready", timeout=20)
        told = ask(port, "/ready")[1]
        assert sorted(one["pid"] for one in told["processes"]) == sorted(run.running())
        os.kill(run.running()[0], signal.SIGKILL)
        wait_until(lambda: ask(port, "/ready")[0] == 503, "unready", timeout=5)
        assert ask(port, "/live")[0] == 200
        wait_until(lambda: ask(port, "/ready")[0] == 200, "ready again", timeout=20)


@KINDS
def test_systemd_hears_when_it_is_ready_reloads_and_stops(
    processes: tuple[str, ...], vhost_url: str, tmp_path: Path
) -> None:
    """Over NOTIFY_SOCKET, with the watchdog's signs of life."""
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def hears(line: str) -> bool:
            try:
                while True:
                    heard.extend(manager.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return any(one.startswith(line) for one in heard)

        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with supervised(tmp_path, *processes, "--url", vhost_url, **environment) as run:
            for line in ("READY=1", "STATUS=running: 2 of 2" if processes else "STATUS=running: 1 of 1", "WATCHDOG=1"):
                wait_until(lambda line=line: hears(line), line, timeout=20)  # type: ignore[misc]
            assert not hears("STOPPING=1")
            if processes:
                heard.clear()
                run.signal(signal.SIGHUP)
                wait_until(lambda: hears("RELOADING=1") and hears("READY=1"), "the reload", timeout=20)
                assert hears("MONOTONIC_USEC=")
            run.signal(signal.SIGTERM)
            assert run.end() == 0
            assert hears("STOPPING=1")


def test_what_cannot_be_told_is_a_sentence(rmqpool: Run, tmp_path: Path) -> None:
    """At the start, with exit code 3."""
    (tmp_path / "shop.py").write_text("from rmqpool import Worker\nworker = Worker('shop')\n")
    assert "give HOST:PORT" in rmqpool("worker", "shop:worker", "--health", "8080").err
    wrong = rmqpool("worker", "shop:worker", "--live-file", "nowhere/live", "--processes", "2")
    assert wrong.code == 3
    assert "cannot write nowhere/live" in wrong.err
