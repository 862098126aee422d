"""One run of a worker, from declaring its topology to the last acknowledgement. One supervisor thread does all of it.

The order at the end: no more deliveries, what was not begun goes back, what runs may finish, what failed is parked, the
channels close (and give back the rest), the connections close.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Sequence

from rmqpool.core.ports import Service
from rmqpool.core.pulse import Pulse
from rmqpool.errors import CallTimeoutError, CircuitOpenError, ConnectionLostError, PoolTimeoutError, RmqpoolError
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Exchange, Queue, Topology
from rmqpool.worker.async_executor import LoopThread
from rmqpool.worker.burst import POLL, BurstWatch
from rmqpool.worker.later import Later
from rmqpool.worker.parking import Parking
from rmqpool.worker.registration import ConsumerDefinition, topology_of
from rmqpool.worker.stats import WorkerStats
from rmqpool.worker.subscription import Subscription

__all__ = ["Runner", "State"]

_LOGGER = logging.getLogger("rmqpool")
_CONNECT_TURN = 1.0  # how long a stop may have to wait while the broker is away
_DECLARE_TIMEOUT = 30.0
_SILENCE = 30.0
_CANCEL_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 5.0
_THREAD_TIMEOUT = 1.0
_LOOK_AT_SERVICES = 0.5
_LONGEST_PAUSE = 5.0
_LOOP = "supervisor thread"
_TURN_LIMIT = 60.0  # seconds: a turn lasts for the longest pause, and for what the consumers do to heal themselves


class State(enum.StrEnum):
    """Where a run is."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Runner:
    """Runs ``definitions`` on ``pool``. ``patience`` is the seconds that the broker may be away at the start (None: no
    limit). ``on_end`` is called once, on the supervisor thread, when everything has ended.
    """

    def __init__(
        self,
        name: str,
        definitions: Sequence[ConsumerDefinition],
        pool: ConnectionPool,
        *,
        owns_pool: bool,
        declare: Sequence[Topology],
        services: Sequence[Service] = (),
        grace: float,
        burst: bool,
        patience: float | None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.state = State.STARTING
        self.error: BaseException | None = None
        self.pulse = Pulse()
        self._pool = pool
        self._owns_pool = owns_pool
        self._topology = topology_of(definitions, declare)
        self._grace = grace
        self._burst = burst
        self._patience = patience
        self._on_end = on_end
        self._speak_again_at = 0.0
        self._stop = threading.Event()
        self._subscribed = threading.Event()
        self._ended = threading.Event()
        self._later = Later(f"rmqpool {name} background")
        self._loop = LoopThread(f"rmqpool {name} loop")
        self._parking = Parking(pool, self._later, name)
        self._subscriptions = [self._subscription(definition) for definition in definitions]
        children = [one.children for one in self._subscriptions if one.children is not None]
        self._services: tuple[Service, ...] = (*services, *children)
        self._thread = threading.Thread(target=self._live, name=f"rmqpool {name} supervisor", daemon=True)

    # From any thread

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def wait_ready(self, timeout: float) -> None:
        """Wait until every consumer is subscribed. Raises what ended the start, PoolTimeoutError after ``timeout``."""
        deadline = time.monotonic() + timeout
        self._subscribed.wait(timeout)
        if self.error is not None:
            raise self.error
        if not self._subscribed.is_set():
            raise PoolTimeoutError(f"worker {self.name!r} could not declare its topology within {timeout:g} s")
        for subscription in self._subscriptions:
            subscription.wait_ready(max(0.0, deadline - time.monotonic()))

    def request_stop(self, grace: float | None = None) -> None:
        """Begin to stop; returns at once. ``grace`` seconds replace the run's own."""
        if grace is not None:
            self._grace = grace
        self._stop.set()
        for subscription in self._subscriptions:
            subscription.request_stop()

    def wait_ended(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if it did not come within ``timeout`` seconds."""
        return self._ended.wait(timeout)

    def stats(self) -> WorkerStats:
        """The figures of this moment."""
        return WorkerStats.of(self.name, str(self.state), tuple(one.stats() for one in self._subscriptions))

    # The supervisor thread

    def _live(self) -> None:
        try:
            if self._declare():
                for service in self._services:
                    service.start()
                self._subscribe()
                self._wait_for_the_end()
        except BaseException as error:  # noqa: BLE001 - whoever waits for this run raises it
            self.error = error
        try:
            self._shut_down()
        except BaseException as error:
            _LOGGER.exception("worker %s could not be stopped in good order", self.name)
            self.error = self.error or error
        finally:
            self.state = State.STOPPED
            self._subscribed.set()
            self._ended.set()
            self._on_end()

    def _declare(self) -> bool:
        """Declare as soon as the broker is there; False if the worker was stopped before.

        Raises what no waiting changes. When the patience ends: the PoolTimeoutError, CallTimeoutError or
        ConnectionLostError of the last attempt.
        """
        give_up_at = None if self._patience is None else time.monotonic() + self._patience
        while not self._stop.is_set():
            try:
                self._pool.open(timeout=_turn(give_up_at, _CONNECT_TURN))
                self._pool.declare_once(self._topology, _turn(give_up_at, _DECLARE_TIMEOUT))
                return True
            except (PoolTimeoutError, CallTimeoutError, CircuitOpenError, ConnectionLostError) as error:
                if give_up_at is not None and time.monotonic() >= give_up_at:
                    raise
                self._say_that_it_waits(error)
                if isinstance(error, CircuitOpenError):
                    self._stop.wait(_turn(give_up_at, min(max(error.retry_after, 0.05), 1.0)))
        return False

    def _say_that_it_waits(self, error: RmqpoolError) -> None:
        if time.monotonic() >= self._speak_again_at:
            self._speak_again_at = time.monotonic() + _SILENCE
            _LOGGER.warning("worker %s waits for the broker: %s", self.name, error)

    def _subscribe(self) -> None:
        for subscription in self._subscriptions:
            subscription.start()
        self.state = State.RUNNING
        self._subscribed.set()
        _LOGGER.info("worker %s runs; queues: %s", self.name, ", ".join(one.queue for one in self._subscriptions))

    def _wait_for_the_end(self) -> None:
        if not self._burst:
            while not self._stop.wait(self._look(_LOOK_AT_SERVICES if self._services else _LONGEST_PAUSE)):
                self._raise_failures()
            return
        watch = BurstWatch(self._pool, self._subscriptions, lambda: self._parking.wait_idle(0))
        while not self._stop.wait(POLL):
            self._raise_failures()
            self._look(POLL)
            if watch.is_over():
                return

    def _look(self, longest: float) -> float:
        """Let the consumers look at themselves; returns the seconds until the next look."""
        self.pulse.beat(_LOOP, time.monotonic(), _TURN_LIMIT)
        return min([longest, *(subscription.look() for subscription in self._subscriptions)])

    def _raise_failures(self) -> None:
        for service in self._services:
            if service.failure is not None:
                _LOGGER.error("worker %s stops, because %s ended by an error", self.name, service.name)
                raise service.failure

    def _shut_down(self) -> None:
        self.pulse.end(_LOOP)  # from here on each step has a deadline of its own
        over = self._burst and not self._stop.is_set() and self.error is None
        self.state = State.STOPPING
        deadline = time.monotonic() + self._grace
        for subscription in self._subscriptions:
            self._step(subscription.cancel, _CANCEL_TIMEOUT)
        for subscription in self._subscriptions:
            self._step(subscription.finish if over else subscription.begin_no_more)
        self._later.hurry()
        for subscription in self._subscriptions:
            self._step(subscription.join, deadline)
        self._later.drain(_THREAD_TIMEOUT)
        self._parking.wait_idle(max(0.0, deadline - time.monotonic()))
        self._later.drain(_THREAD_TIMEOUT)  # what became of requests is told once they are parked
        self._parking.close()
        for subscription in self._subscriptions:
            self._step(subscription.close)
        for service in self._services:
            self._step(self._stop_service, service, max(1.0, deadline - time.monotonic()))
        self._step(self._close_pool)
        self._loop.close(_THREAD_TIMEOUT)
        self._later.close(_THREAD_TIMEOUT)
        self._say_goodbye()

    def _step(self, function: Callable[..., object], *arguments: object) -> None:
        """One step of the end. What it raises (an inbox or a service of the user's, say) must not keep the next ones from
        giving messages back and closing connections.
        """
        try:
            function(*arguments)
        except BaseException as error:
            _LOGGER.exception("worker %s: a step of its end failed", self.name)
            self.error = self.error or error

    def _stop_service(self, service: Service, timeout: float) -> None:
        if not service.stop(timeout):
            _LOGGER.warning("worker %s: %s did not end in good order", self.name, service.name)

    def _close_pool(self) -> None:
        if self._owns_pool and not self._pool.close(_CLOSE_TIMEOUT):
            _LOGGER.warning("worker %s: not every connection closed in good order", self.name)

    def _say_goodbye(self) -> None:
        stats = self.stats()
        _LOGGER.info(
            "worker %s stopped: %d handled, %d parked, %d requeued, %d duplicates, %d abandoned",
            self.name,
            stats.handled,
            stats.parked,
            stats.requeued,
            stats.duplicates,
            stats.abandoned,
        )

    def _subscription(self, definition: ConsumerDefinition) -> Subscription:
        return Subscription(
            definition,
            name=f"rmqpool {self.name}",
            pool=self._pool,
            parking=self._parking,
            later=self._later,
            loop=self._loop,
            broker_dead_letters=self._dead_letters_are_declared(definition.queue),
        )

    def _dead_letters_are_declared(self, queue: Queue) -> bool:
        if queue.dead_letter_queue is not None:
            return True  # implied by the queue, so it was declared with it
        return any(isinstance(item, Exchange) and item.name == queue.dead_letter_exchange for item in self._topology)


def _turn(give_up_at: float | None, longest: float) -> float:
    return longest if give_up_at is None else max(0.1, min(longest, give_up_at - time.monotonic()))
