"""Where a shovel's messages go: a pool of its own, which is waited for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from rmqpool import Backoff, ConnectionPool, Postpone, Publisher, Reject
from rmqpool.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    MessageError,
    NotFoundError,
    PoolTimeoutError,
    PublishPreconditionError,
    RmqpoolError,
    UnroutableError,
)
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation, Message
from workers.shovel.settings import PREFIX, ShovelSettings

__all__ = ["Destination"]

_LOGGER = logging.getLogger("rmqpool.workers.shovel")
_PAUSES = Backoff(0.1, 10.0)
_PATIENCE: Final = 10.0  # seconds at the start for a broker that is not there: it is waited for later
_BYTES: Final = 2**40  # in the window: our own bound is in messages, and the event loop must never wait for room


class Destination:
    """A service of the worker: opened before its consumers, closed after them. ``deliver`` runs on one event loop."""

    def __init__(self, settings: ShovelSettings) -> None:
        self._settings = settings
        self._pool: ConnectionPool | None = None
        self._publisher: Publisher | None = None
        self._fails = False

    @property
    def name(self) -> str:
        """For the log."""
        return f"the connection to {self._settings.target}"

    @property
    def failure(self) -> BaseException | None:
        """It does not die: a broker that is away is waited for."""
        return None

    @property
    def user(self) -> str:
        """The user of our connections there."""
        return self._pool.settings.user if self._pool is not None else ""

    def start(self) -> None:
        """Connect. Raises what no waiting changes: the broker does not let us in, or has no such queue or exchange."""
        settings = self._settings
        pool = ConnectionPool(
            settings.to_url.reveal(),
            window=2 * settings.window,
            window_bytes=_BYTES,
            timeout=settings.timeout,
            name="rmqpool shovel destination",
        )
        self._pool, self._publisher = pool, Publisher(pool, timeout=settings.timeout)
        try:
            pool.open(timeout=_PATIENCE)
            self._look(pool)
        except (PoolTimeoutError, CallTimeoutError, ConnectionLostError) as error:
            self._report(error)
        except BaseException:
            pool.close(0)
            raise

    def stop(self, timeout: float) -> bool:
        """Close the connections; True if every message had its outcome."""
        return self._pool is None or self._pool.close(timeout)

    async def deliver(self, message: Message, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Returns once the message is confirmed; sends it again, with the same message_id, for as long as it takes.

        Raises Reject for one that this destination will never take, and Postpone, with nothing sent, once it is not wanted
        any more: its own copy went back to the source, and comes again.
        """
        attempt = 0
        while True:
            if not is_wanted():
                raise Postpone("it has gone back to the source")
            attempt += 1
            trouble = await self._send(message)
            self._report(trouble)
            if trouble is None:
                return
            await asyncio.sleep(_PAUSES.ceiling(attempt) * (1 + random.random()) / 2)

    async def _send(self, message: Message) -> RmqpoolError | None:
        """None once it is confirmed; otherwise why it is to be sent again."""
        assert self._publisher is not None, "start() comes first"
        try:
            outcome = await _outcome(self._publisher.submit_message(message))
        except MessageError as error:
            raise Reject(f"it cannot be sent: {error}") from error
        except RmqpoolError as error:
            return error
        if isinstance(outcome, Confirmation):
            return None
        if isinstance(outcome, PublishPreconditionError):
            raise Reject(f"the destination refuses it: {outcome.text}") from outcome
        if (
            isinstance(outcome, UnroutableError) and message.exchange
        ):  # with a queue, none of the others would go either
            raise Reject(f"unroutable: {self._settings.target} has no queue for {message.routing_key!r}") from outcome
        return outcome

    def _look(self, pool: ConnectionPool) -> None:
        settings = self._settings
        try:
            with pool.channel() as channel:
                if settings.to_queue is not None:
                    channel.queue_declare(settings.to_queue, passive=True)
                elif settings.to_exchange is not None:
                    channel.exchange_declare(settings.to_exchange, passive=True)
        except NotFoundError:
            variable = f"{PREFIX}TO_QUEUE" if settings.to_queue is not None else f"{PREFIX}TO_EXCHANGE"
            where = pool.settings.redacted_url()
            raise ConfigurationError(
                f"{variable}: there is no {settings.target} on {where}; declare it first, as it is to be"
            ) from None

    def _report(self, trouble: RmqpoolError | None) -> None:
        if (trouble is not None) is self._fails:
            return
        self._fails = trouble is not None
        if trouble is not None:
            _LOGGER.warning("%s takes nothing now, and is waited for: %s", self._settings.target, trouble)
        else:
            _LOGGER.info("%s takes messages again", self._settings.target)


async def _outcome(future: PublishFuture) -> Confirmation | RmqpoolError:
    """What became of it. Cancelling withdraws a message of which nothing was written."""
    loop = asyncio.get_running_loop()
    known: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not known.done():
            known.set_result(None)

    future.add_done_callback(lambda _: loop.call_soon_threadsafe(tell))
    try:
        await known
    except asyncio.CancelledError:
        future.cancel()
        raise
    return future.outcome(0)
