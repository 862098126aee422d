"""Many processes that publish through one agent: forked from one small parent, each with a publisher of its own.

agent_clients URL QUEUE PROCESSES PAUSE: one message every PAUSE seconds from each, until stdin ends; from every fourth one a
batch of five.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import sys
from contextlib import suppress
from itertools import count

from faults.programs.common import tell
from rmqpool import Confirmation, Publisher, PublishError

TIMEOUT = 150.0  # seconds: a message that takes longer is one too many
BATCH = 5


def publish_until(stop: int, url: str, queue: str, name: str, pause: float, batch: int) -> None:
    """One message after the other, or ``batch`` of them at once, each with an id of its own."""
    with Publisher(url) as publisher:
        for number in count():
            outcomes: list[Confirmation | PublishError] = []
            if batch > 1:
                outcomes += publisher.publish_many(queue, [b"x" * 200] * batch, timeout=TIMEOUT)
            else:
                try:
                    outcomes.append(
                        publisher.publish(queue, b"x" * 200, message_id=f"{name}-{number}", timeout=TIMEOUT)
                    )
                except PublishError as error:
                    outcomes.append(error)
            for one in outcomes:
                tell("published", id=one.message_id, outcome=str(one.outcome), attempts=one.attempts, name=name)
            if select.select([stop], [], [], pause)[0]:
                return


def main(url: str, queue: str, processes: int, pause: float) -> int:
    """Fork them, wait for the end of stdin, then for theirs."""
    logging.getLogger("rmqpool").addHandler(
        logging.NullHandler()
    )  # nobody reads stderr: a full pipe would hold them up
    with Publisher("agent:///nowhere.sock") as publisher, suppress(PublishError):
        publisher.publish(queue, b"", timeout=0.05)  # everything is imported once, and not by each child
    stop, stopping = os.pipe()
    gc.freeze()  # what is collected in none of them stays shared memory
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(stopping)
                publish_until(stop, url, queue, f"p{number}", pause, BATCH if number % 4 == 0 else 1)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    sys.stdin.read()
    os.close(stopping)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    tell("ended", failed=sum(code != 0 for code in codes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
