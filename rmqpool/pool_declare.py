"""Declaring now, and waiting for it: on the lease connection, again after a connection loss, until the deadline."""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from rmqpool.amqp.declaring import Declaring
from rmqpool.amqp.link import Link
from rmqpool.errors import CallTimeoutError, ConnectionLostError, PoolClosedError, RmqpoolError
from rmqpool.topology import Topology, expand

__all__ = ["declare_now"]


def declare_now(link: Link, items: tuple[Topology, ...], seconds: float) -> None:
    """Declare ``items`` within ``seconds``; declaring is idempotent, so a lost connection only means once more.

    Raises ConfigurationError for what is no topology, TopologyMismatchError and other refusals of the broker,
    PoolTimeoutError when no connection came up, CallTimeoutError when the broker did not answer, PoolClosedError. Blocks;
    for any thread but an I/O thread.
    """
    expand(items)  # a mistake in them is told here, and not found on the I/O thread
    deadline = time.monotonic() + seconds
    Retrying(
        retry=retry_if_exception_type(ConnectionLostError),
        stop=stop_before_delay(seconds),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        reraise=True,
    )(_declare, link, items, deadline)


def _declare(link: Link, items: tuple[Topology, ...], deadline: float) -> None:
    link.nudge()
    link.wait_ready(deadline)
    answer: Future[None] = Future()

    def done(error: RmqpoolError | None) -> None:
        answer.set_exception(error) if error is not None else answer.set_result(None)

    def begin() -> None:
        connection = link.connection
        if connection is None:
            done(ConnectionLostError(f"connection {link.name} was lost before the declaration"))
        else:
            Declaring(link, connection, items, done).start()

    if not link.post(begin):
        raise PoolClosedError("the pool was closed while it declared: open a new one")
    try:
        answer.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError as error:
        if isinstance(error, RmqpoolError):
            raise
        raise CallTimeoutError(f"the broker {link.status().address} did not answer declarations in time") from None
