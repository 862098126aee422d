"""A circuit breaker around publishes: while the broker is away a few callers wait, and all others are told at once."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

from rmqpool import (
    Backoff,
    Breaker,
    BreakerPolicy,
    BreakerState,
    CircuitOpenError,
    ConnectionPool,
    NotSentError,
    Publisher,
    Queue,
    UnknownOutcomeError,
    retrying,
)
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.waiting import wait_until
from rmqpool.urls import parse_url


def test_callers_do_not_wait_for_a_broker_that_is_away(vhost_url: str) -> None:
    """Of 200 calls only those wait that find out, and the probes; when the broker is there again they all get through."""
    settings = parse_url(vhost_url)
    policy = BreakerPolicy(minimum=4, failure_rate=1, pause=Backoff(0.05, 0.2))
    guard = Breaker("the broker", on=(NotSentError, UnknownOutcomeError), policy=policy)
    ends: Counter[str] = Counter()
    lock = threading.Lock()

    with FaultProxy(settings.hosts[0]) as proxy:
        pool = ConnectionPool(dataclasses.replace(settings, hosts=(("127.0.0.1", proxy.port),)))
        with pool, Publisher(pool, declare=[Queue("orders")]) as publisher:

            @guard
            def place(number: int, timeout: float) -> None:
                publisher.publish("orders", number, timeout=timeout)

            def call(numbers: range) -> None:
                for number in numbers:
                    try:
                        place(number, 0.3)
                        end = "placed"
                    except CircuitOpenError:
                        end = "refused"
                    except (NotSentError, UnknownOutcomeError):
                        end = "waited"
                    with lock:
                        ends[end] += 1

            place(0, 30)
            proxy.refuse()
            proxy.reset()
            wait_until(lambda: pool.stats().publish[0].state != "ready", "the loss", timeout=30)
            threads = [threading.Thread(target=call, args=(range(50),)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert ends["placed"] == 0
            assert ends["waited"] >= 4
            assert ends["refused"] >= 100
            assert guard.state is not BreakerState.CLOSED
            proxy.heal()
            patiently = retrying(deadline=60, on=(CircuitOpenError, NotSentError))
            for attempt in patiently:
                with attempt:
                    place(1, 5)
            place(2, 30)
            assert guard.state is BreakerState.CLOSED
