"""Nothing is left to import once a pool or worker was made: a fork may come at any moment after that.

Each program is a fresh interpreter. It tells which modules came in while it worked; warnings of Python count as a failure.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

PUBLISHER = """
publisher = Publisher(url, declare=[Queue(queue)])
before = set(sys.modules)
publisher.publish(queue, b"bytes")
publisher.publish(queue, "text")
publisher.publish(queue, {"id": 7}, headers={"key": "value"}, priority=1, expiration=60)
publisher.publish(queue, b"x" * 5000, compression="gzip")
publisher.submit(queue, [1, 2]).result(timeout=10)
assert publisher.publish_many(queue, [b"1", b"2"]).confirmed == 2
try:
    publisher.publish("no-such-queue", b"")
except UnroutableError:
    tell["unroutable"] = True
with publisher.pool.channel() as channel:
    tell["body"] = channel.basic_get(queue).body.decode()
tell["ready"] = "1" in repr(publisher.pool)
publisher.flush(timeout=10)
publisher.close()
"""

ASYNC_PUBLISHER = """
import asyncio

async def main():
    global before
    async with AsyncPublisher(url, declare=[Queue(queue)]) as publisher:
        before = set(sys.modules)
        await publisher.publish(queue, {"id": 7})
        tell["confirmed"] = (await publisher.publish_many(queue, [b"1", b"2"])).confirmed

asyncio.run(main())
"""

WORKER = """
import threading
worker = Worker("imports", url)
seen, parked = [], threading.Event()

@dataclass
class Order:
    id: int

@worker.consumer(queue)
def handle(order: Order) -> None:
    seen.append(order.id)
    if order.id == 2:
        raise ValueError("this one is parked")

@worker.consumer(queue + "-async", accept=["json", "msgpack"])
async def handle_async(body) -> None:
    seen.append(body)

publisher = Publisher(url, declare=[Queue(queue), Queue(queue + "-async")])
publisher.publish(queue, {"id": 1})
publisher.publish(queue, {"id": 2})
publisher.publish(queue, {"id": "no number"})
publisher.publish(queue + "-async", {"id": 3})
before = set(sys.modules)
with worker:
    wait_until(lambda: worker.stats().parked == 2 and worker.stats().handled == 2, "all outcomes", timeout=20)
tell["seen"] = len(seen)
publisher.close()
"""

PROGRAM = """
import json, logging, sys
from dataclasses import dataclass
from rmqpool import AsyncPublisher, Publisher, Queue, UnroutableError, Worker
from rmqpool.testing.waiting import wait_until

url, queue = sys.argv[1:]
tell = {}
logging.disable()
%s
print(json.dumps({**tell, "came": sorted(set(sys.modules) - before)}))
"""


def told_by(program: str, *arguments: str) -> dict[str, Any]:
    """Run it with warnings as errors; what it told at its end."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM % program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize(
    ("program", "told"),
    [
        pytest.param(PUBLISHER, {"unroutable": True, "body": "bytes", "ready": True}, id="publisher"),
        pytest.param(ASYNC_PUBLISHER, {"confirmed": 2}, id="async publisher"),
        pytest.param(WORKER, {"seen": 3}, id="worker"),
    ],
)
def test_nothing_is_imported_once_there_are_threads(
    vhost_url: str, queue_name: str, program: str, told: dict[str, object]
) -> None:
    """Connecting, publishing in each way, leasing, handling, parking and closing find everything loaded."""
    assert told_by(program, vhost_url, queue_name) == {**told, "came": []}
