"""Whether a pool of the size that `rmqpool pool size` computes has as many callers waiting as the formula says.

    python -m benchmarks.pool_sizing [URL]      # a private broker, if no URL is given

Leases begin at random moments (a Poisson process) and are held for times of random length (exponential), whether or not those
before have ended: what Erlang's formula assumes. Each does one round trip, and then waits as if it worked.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from rmqpool import ConnectionPool
from rmqpool.core.sizing import mean_wait, size_for, waiting_share

RATE = 100.0  # leases a second
HOLD = 0.05  # seconds, on average
SECONDS = 40.0  # for each size
WAITED = 0.001  # seconds: whoever got a channel faster did not wait for somebody else's
CALLERS = 200


def measure(url: str, size: int, seed: int) -> tuple[float, float, float]:
    """The share of leases that waited, the seconds that they all waited on average, and how long each held its channel."""
    chance = random.Random(seed)
    moments: list[float] = []
    at = 0.0
    while at < SECONDS:
        at += chance.expovariate(RATE)
        moments.append(at)
    works = [chance.expovariate(1 / HOLD) for _ in moments]
    waits: list[float] = []
    holds: list[float] = []
    never = threading.Event()

    def lease(work: float) -> None:
        asked = time.perf_counter()
        with pool.channel() as channel:
            got = time.perf_counter()
            channel.exchange_declare("amq.direct", passive=True)
            never.wait(max(0.0, work - (time.perf_counter() - got)))
        holds.append(time.perf_counter() - got)
        waits.append(got - asked)

    with ConnectionPool(url, channels_per_connection=size) as pool, ThreadPoolExecutor(CALLERS) as callers:
        with contextlib.ExitStack() as opened:
            for _ in range(size):  # all channels are there before it begins
                opened.enter_context(pool.channel())
        began = time.perf_counter()
        for moment, work in zip(moments, works, strict=True):
            never.wait(max(0.0, began + moment - time.perf_counter()))
            callers.submit(lease, work)
    assert len(waits) == len(moments)
    return sum(wait > WAITED for wait in waits) / len(waits), statistics.fmean(waits), statistics.fmean(holds)


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """The URL that was given, or a private broker's."""
    if len(sys.argv) > 1:
        yield sys.argv[1]
        return
    from rmqpool.testing.services import private_rabbitmq

    with private_rabbitmq() as node:
        yield node.amqp_url()


def main() -> None:
    """Prints a table."""
    enough = size_for(RATE * HOLD, 0.01)
    print("size  in use  waited  by the formula  average wait  by the formula")
    with broker() as url:
        for size in (int(RATE * HOLD) + 1, (int(RATE * HOLD) + enough) // 2, enough, 2 * enough):
            share, wait, hold = measure(url, size, seed=size)
            busy = RATE * hold
            print(
                f"{size:4}  {busy:6.2f}  {share:6.2%}  {waiting_share(size, busy):14.2%}  {wait * 1000:9.2f} ms"
                f"  {mean_wait(size, busy, hold) * 1000:11.2f} ms"
            )


if __name__ == "__main__":
    main()
