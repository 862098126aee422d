"""``rmqpool worker`` with handlers in child processes: limits, logs and errors as the command line has them."""

from __future__ import annotations

import json
from pathlib import Path

from rmqpool import Publisher, Queue
from tests.acceptance.conftest import Run

MEDIA = """
import logging, os, time
from rmqpool import Worker

worker = Worker("media")

@worker.consumer("images", executor="process", concurrency=2, time_limit=1)
def resize(image: dict) -> None:
    logging.getLogger("media").info("image %s for amqp://me:hunter2secret@host/", image["id"])
    if image["id"] == "crash":
        os._exit(3)
    if image["id"] == "slow":
        time.sleep(60)
    with open("handled", "a") as file:
        file.write(f"{os.getpid()}\\n")
"""


def test_a_burst_handles_in_children_and_ends_with_0(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """What can be handled is; the rest is parked. The children's logs are lines of the same JSON, with secrets masked."""
    (tmp_path / "media.py").write_text(MEDIA)
    with Publisher(vhost_url, declare=[Queue("images")]) as publisher:
        publisher.publish_many("images", [{"id": name} for name in (1, 2, "crash", 3, "slow", 4)])
    ended = rmqpool("worker", "media:worker", "--burst", "--log-format", "json", "--url", vhost_url)
    assert ended.code == 0, ended.text
    assert len((tmp_path / "handled").read_text().split()) == 4
    records = [json.loads(line) for line in ended.err.splitlines()]
    assert sum(record["logger"] == "media" for record in records) == 7  # the one that crashes is tried twice
    assert "hunter2secret" not in ended.text
    assert any("4 handled, 2 parked" in record["message"] for record in records)


def test_a_module_that_no_child_can_import_is_a_sentence(rmqpool: Run, vhost_url: str, tmp_path: Path) -> None:
    """Exit code 3, as for any wrong configuration."""
    (tmp_path / "media.py").write_text(
        MEDIA + "\nif os.getppid() != int(os.environ['PARENT']): raise OSError('no GPU')\n"
    )
    launcher = "import os; os.environ['PARENT'] = str(os.getppid())\n"
    (tmp_path / "start.py").write_text(launcher + "from media import worker\n")
    ended = rmqpool("worker", "start:worker", "--url", vhost_url)
    assert ended.code == 3, ended.text
    assert "cannot load the handler media.resize: OSError: no GPU" in ended.err
