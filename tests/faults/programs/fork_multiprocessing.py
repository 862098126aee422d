"""multiprocessing with an open pool in the parent, and a consumer on it: the children publish, the consumer stays the parent's.

fork_multiprocessing URL QUEUE fork|spawn
"""

from __future__ import annotations

import multiprocessing
import sys
import threading

from faults.programs.common import publish_numbered, tell
from rmqpool import ConnectionPool, Consumer, Delivery, Publisher, Queue

MESSAGES = 25
CHILDREN = 3


def inherit(number: int, publisher: Publisher, queue: str, held: list[Delivery]) -> None:
    """The child of a fork: it uses the publisher it inherited, and cannot settle what the parent's consumer holds."""
    tell("settled-in-child", answers=[delivery.ack() for delivery in held])
    publish_numbered(publisher, queue, f"child-{number}", MESSAGES)
    publisher.pool.close()


def spawned(number: int, url: str, queue: str) -> None:
    """A spawned child shares nothing: it opens its own."""
    with Publisher(url) as publisher:
        publish_numbered(publisher, queue, f"child-{number}", MESSAGES)


def main(url: str, queue: str, method: str) -> int:
    """Holds one delivery unsettled over the forks, and settles it afterwards."""
    context = multiprocessing.get_context(method)
    held: list[Delivery] = []
    delivered = threading.Event()

    def hold(delivery: Delivery) -> None:
        held.append(delivery)
        delivered.set()

    with ConnectionPool(url) as pool:
        publisher = Publisher(pool, declare=[Queue(queue)])
        with Consumer(pool, Queue(f"{queue}-held"), hold) as consumer:
            consumer.wait_ready()
            publisher.publish(f"{queue}-held", b"")
            assert delivered.wait(10)
            publish_numbered(publisher, queue, "before", MESSAGES)
            children = [
                context.Process(target=inherit, args=(number, publisher, queue, held))
                if method == "fork"
                else context.Process(target=spawned, args=(number, url, queue))
                for number in range(CHILDREN)
            ]
            for child in children:
                child.start()
            publish_numbered(publisher, queue, "parent", MESSAGES)
            for child in children:
                child.join()
            acknowledged = held[0].ack()
            consumer.cancel()
            status = consumer.status()
            tell(
                "parent",
                codes=[child.exitcode for child in children],
                acknowledged=acknowledged,
                consumer=[status.subscriptions, status.stale, status.delivered],
                epoch=pool.stats().publish[0].epoch,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
