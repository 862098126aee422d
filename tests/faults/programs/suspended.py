"""Publishes and consumes one message after the other until stdin ends; tells each outcome, and each event of a connection.

suspended URL QUEUE HEARTBEAT
"""

from __future__ import annotations

import sys
import threading

from faults.programs.common import tell
from rmqpool import ConnectionPool, Consumer, Delivery, PoolEvent, Publisher, PublishError, Queue

_BETWEEN = 0.05  # seconds


def _event(event: PoolEvent) -> None:
    tell("event", event=event.kind, link=event.connection, sentence=event.sentence)


def _take(delivery: Delivery) -> None:
    tell("received", id=delivery.message_id, redelivered=delivery.redelivered)
    delivery.ack()


def main(url: str, queue: str, heartbeat: str) -> None:
    """Until told to end; every message comes to its outcome before that."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with ConnectionPool(url, heartbeat=int(heartbeat), on_event=_event) as pool:
        publisher = Publisher(pool, declare=[Queue(queue)], timeout=30)
        with Consumer(pool, Queue(queue), _take) as consumer:
            consumer.wait_ready(10)
            number = 0
            while not ended.wait(_BETWEEN):
                try:
                    outcome = str(publisher.publish(queue, b"", message_id=f"m-{number}").outcome)
                except PublishError as error:
                    outcome = str(error.outcome)
                tell("published", id=f"m-{number}", outcome=outcome)
                number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
