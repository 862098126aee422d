"""Publishing with confirms, side by side in one run: rmqpool against pika's BlockingConnection and aio-pika on uvloop.

    python benchmarks/publish.py [--rounds 3] [--json FILE]

Each round runs every client once, alternating, on the same durable quorum queue with persistent 256-byte bodies; the table
shows medians and ratios. Absolute figures change from machine to machine and run to run: only the ratios count. A peer that
is not installed is named, never left out silently.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rmqpool import ConnectionPool, Publisher, Queue
from rmqpool.testing.services import private_rabbitmq

QUEUE = "benchmark"
BODY = b"x" * 256
ONE_BY_ONE = 5_000
MANY = 50_000
GATHER = 1_000


def rmqpool_one_by_one(url: str) -> float:
    """Publisher.publish, one thread, one message at a time."""
    with ConnectionPool(url) as pool:
        publisher = Publisher(pool)
        publisher.publish(QUEUE, BODY)
        started = time.perf_counter()
        for _ in range(ONE_BY_ONE):
            publisher.publish(QUEUE, BODY)
        return ONE_BY_ONE / (time.perf_counter() - started)


def rmqpool_many(url: str) -> float:
    """Publisher.publish_many, pipelined."""
    with ConnectionPool(url) as pool:
        publisher = Publisher(pool)
        publisher.publish(QUEUE, BODY)
        started = time.perf_counter()
        report = publisher.publish_many(QUEUE, [BODY] * MANY)
        rate = MANY / (time.perf_counter() - started)
        report.raise_for_failures()
        return rate


def pika_one_by_one(url: str) -> float:
    """pika's BlockingConnection with confirms and mandatory, one message at a time."""
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", QUEUE, BODY, properties, mandatory=True)
    started = time.perf_counter()
    for _ in range(ONE_BY_ONE):
        channel.basic_publish("", QUEUE, BODY, properties, mandatory=True)
    rate = ONE_BY_ONE / (time.perf_counter() - started)
    connection.close()
    return rate


def aio_pika_many(url: str) -> float:
    """aio-pika on uvloop with confirms, gather of 1,000 at a time."""
    import aio_pika
    import uvloop

    async def run() -> float:
        connection = await aio_pika.connect(url)
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            message = aio_pika.Message(BODY, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            exchange = channel.default_exchange
            await exchange.publish(message, QUEUE)
            started = time.perf_counter()
            for _ in range(MANY // GATHER):
                await asyncio.gather(*(exchange.publish(message, QUEUE) for _ in range(GATHER)))
            return MANY / (time.perf_counter() - started)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


CLIENTS: dict[str, Callable[[str], float]] = {
    "rmqpool publish, one at a time": rmqpool_one_by_one,
    "pika BlockingConnection, one at a time": pika_one_by_one,
    "rmqpool publish_many": rmqpool_many,
    "aio-pika + uvloop, gather of 1,000": aio_pika_many,
}
RATIOS = (
    ("one at a time: rmqpool / pika", "rmqpool publish, one at a time", "pika BlockingConnection, one at a time", 1.0),
    ("many: rmqpool / aio-pika", "rmqpool publish_many", "aio-pika + uvloop, gather of 1,000", 2.0),
)


def measure(url: str, rounds: int, console: Console) -> tuple[dict[str, list[float]], list[str]]:
    """Rates in messages a second, a list for each client; and the clients that are missing."""
    rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
    missing: list[str] = []
    for round_number in range(1, rounds + 1):
        for name, client in CLIENTS.items():
            if name in missing:
                continue
            with ConnectionPool(url) as pool, pool.channel() as channel:
                channel.queue_declare(Queue(QUEUE, dead_letter=None))
                channel.queue_purge(QUEUE)
            try:
                rates[name].append(client(url))
            except ImportError as error:
                missing.append(name)
                console.print(f"[yellow]missing: {name} ({error})[/]")
                continue
            console.print(f"round {round_number}: {name}: {rates[name][-1]:,.0f} msg/s")
    return rates, missing


def main() -> None:
    """Start a private broker, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    console = Console()
    with private_rabbitmq() as broker:
        rates, missing = measure(broker.amqp_url(), arguments.rounds, console)
    medians = {name: statistics.median(values) for name, values in rates.items() if values}
    table = Table(title=f"Confirmed publishing, 256 bytes, quorum queue, median of {arguments.rounds}")
    table.add_column("client")
    table.add_column("msg/s", justify="right")
    for name in CLIENTS:
        table.add_row(name, f"{medians[name]:,.0f}" if name in medians else "not installed")
    console.print(table)
    ratios = {
        title: medians[ours] / medians[theirs]
        for title, ours, theirs, _ in RATIOS
        if ours in medians and theirs in medians
    }
    for title, _, _, goal in RATIOS:
        told = f"{ratios[title]:.2f} × (goal {goal:g} ×)" if title in ratios else "a peer is missing"
        console.print(f"{title}: {told}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"rates": rates, "medians": medians, "ratios": ratios, "missing": missing}, indent=2)
        )


if __name__ == "__main__":
    main()
