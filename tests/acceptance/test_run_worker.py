"""``rmqpool worker``: the options reach the worker, logs are fit for machines, and mistakes are sentences."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from rmqpool import Publisher, Queue
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import Run, environment

SHOP = """
import logging
from pathlib import Path
from rmqpool import Worker

worker = Worker("orders")

@worker.consumer("orders")
def handle(order: dict) -> None:
    logging.getLogger("shop").info("order %s for amqp://me:hunter2secret@host/", order["id"])
    with Path("handled").open("a") as file:
        file.write(f"{order['id']}\\n")

@worker.consumer("returns")
def take_back(body: dict) -> None: ...
"""


def test_a_burst_handles_what_is_there_and_ends_with_0(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """Logs are JSON lines on stderr, without the password that the handler wrote."""
    (tmp_path / "shop.py").write_text(SHOP)
    with Publisher(vhost_url, declare=[Queue("orders"), Queue("returns")]) as publisher:
        publisher.publish_many("orders", [{"id": number} for number in range(3)])
    ended = rmqpool("worker", "shop:worker", "--burst", "--log-format", "json", "--url", vhost_url)
    assert ended.code == 0, ended.text
    assert sorted((tmp_path / "handled").read_text().split()) == ["0", "1", "2"]
    records = [json.loads(line) for line in ended.err.splitlines()]
    assert sum(record["logger"] == "shop" for record in records) == 3
    assert all({"time", "level", "message", "thread"} <= record.keys() for record in records)
    assert "hunter2secret" not in ended.text
    assert not any(record["logger"].startswith("pika") for record in records)


def test_sigterm_ends_it_with_0(vhost_url: str, tmp_path: Path) -> None:
    """Until then it consumes only the queues that it was told."""
    (tmp_path / "shop.py").write_text(SHOP)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rmqpool",
            "worker",
            "shop:worker",
            "--queues",
            "orders",
            "--concurrency",
            "2",
            "--url",
            vhost_url,
        ],
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=tmp_path,
    )
    try:
        with Publisher(vhost_url, declare=[Queue("orders")]) as publisher:
            publisher.publish("orders", {"id": 7})
        wait_until((tmp_path / "handled").exists, "the message to be handled", timeout=15)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert b"Traceback" not in err


def test_what_keeps_a_worker_from_starting_is_a_sentence(rmqpool: Run, broker: RabbitMQNode, tmp_path: Path) -> None:
    """An unknown queue is configuration (3), a wrong password connection (4); a suggestion is given."""
    (tmp_path / "shop.py").write_text(SHOP)
    unknown = rmqpool("worker", "shop:worker", "--queues", "ordres", "--json", "--url", broker.amqp_url())
    assert unknown.code == 3
    assert "did you mean 'orders'" in unknown.json["error"]["message"]
    refused = rmqpool("worker", "shop:worker", "--json", "--url", broker.amqp_url(password="hunter2secret"))
    assert refused.code == 4
    assert refused.json["error"]["type"] == "AuthenticationError"
    assert "hunter2secret" not in refused.text


def test_a_refusal_is_told_once(rmqpool: Run, broker: RabbitMQNode, tmp_path: Path) -> None:
    """The log has told it: the last line points there. Where the log is silent, the last line tells it."""
    (tmp_path / "shop.py").write_text(SHOP)
    arguments = ("worker", "shop:worker", "--url", broker.amqp_url(password="hunter2secret"))
    logged = rmqpool(*arguments)
    assert logged.code == 4
    assert logged.err.count("wrong user name or password") == 1
    assert logged.err.splitlines()[-1] == "rmqpool: shop:worker ended: AuthenticationError, as told above"
    silent = rmqpool(*arguments, "--log-level", "error")
    assert silent.code == 4
    assert silent.err.count("wrong user name or password") == 1
    assert silent.err.splitlines()[-1].startswith("rmqpool: the broker ")
