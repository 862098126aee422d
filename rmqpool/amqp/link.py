"""A link: one long-lived AMQP connection on one I/O thread, opened again whenever it is lost, until the link is closed.

State changes happen on the I/O thread only. Actors (publishing, consuming, leasing) stand on a link and are told when a
connection is up, lost, blocked or unblocked. While the broker refuses us (wrong password, missing virtual host) attempts
are far apart; otherwise the pause grows exponentially with full jitter, and every attempt goes to the next host.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from rmqpool.amqp.attempts import Attempts, SharedBreaker
from rmqpool.amqp.audience import Audience
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.failures import REFUSALS, connection_lost, own_copy, replaced, silent
from rmqpool.amqp.io_thread import IOThread, Timer
from rmqpool.amqp.link_values import DOING, Actor, Blocked, LinkEvent, LinkState, LinkStatus
from rmqpool.amqp.purposes import Purpose
from rmqpool.amqp.watchdog import Watchdog
from rmqpool.core.reconnect import NUDGED_DELAY
from rmqpool.errors import CircuitOpenError, ConnectionFailedError, PoolClosedError, PoolTimeoutError, RmqpoolError
from rmqpool.settings import ConnectionSettings

__all__ = ["Actor", "Link", "LinkEvent", "LinkState", "LinkStatus"]

_LOGGER = logging.getLogger("rmqpool")


class Link:
    """One supervised connection. ``start``, ``post``, ``wait_ready``, ``nudge`` and ``close`` are thread-safe."""

    def __init__(
        self,
        settings: ConnectionSettings,
        name: str,
        on_event: Callable[[LinkEvent, str, str], None] = lambda event, link, sentence: None,
        random_fraction: Callable[[], float] = random.random,
        purpose: Purpose | None = None,
        breaker: SharedBreaker | None = None,
    ) -> None:
        self.settings, self.name = settings, name
        self._audience = Audience(name, on_event)
        self._random = random_fraction
        self._thread = IOThread(f"rmqpool {name}", self._on_fault)
        done, start = self._on_attempt_done, random_fraction()
        self._attempts = Attempts(self._thread, settings, name, done, start, breaker, purpose)
        self._plan = self._attempts.plan
        self._guard = threading.RLock()  # interrupted in its own `with`, a Condition stays locked
        self._changed = threading.Condition(self._guard)
        self._state = LinkState.NEW
        self._connection: Connection | None = None
        self._retry_timer: Timer | None = None
        self._retry_at = self.attempt_began = 0.0  # monotonic: the next attempt to connect, and the last one
        self._watchdog: Watchdog | None = None
        self._epoch, self._blocked = 0, Blocked()
        self._last_error: RmqpoolError | None = None
        self._refusal: ConnectionFailedError | None = None
        self._broker = ""

    # From any thread

    def start(self) -> None:
        """Start the I/O thread and the first attempt; later calls do nothing. Does not wait: see :meth:`wait_ready`."""
        with self._guard:
            if self._state is LinkState.NEW:
                self._thread.start()  # raises when the system gives no more threads; then nothing has begun
                self._state = LinkState.CONNECTING
                self._thread.post(self._connect)

    def attach(self, actor: Actor) -> None:
        """Let ``actor`` stand on this link; if a connection is up it is told at once (on the I/O thread)."""
        self._thread.post(lambda: self._attach(actor))

    def detach(self, actor: Actor) -> None:
        """The actor hears nothing more."""
        self._thread.post(lambda: self._audience.remove(actor))

    def post(self, function: Callable[[], None]) -> bool:
        """Run ``function`` on the I/O thread soon; errors in it are contained. False if that thread has ended."""
        return self._thread.post(function)

    def call_later(self, delay: float, function: Callable[[], None]) -> Timer:
        """Run ``function`` in ``delay`` seconds. I/O thread only."""
        return self._thread.call_later(delay, function)

    def at_end_of_turn(self, function: Callable[[], None]) -> None:
        """Run ``function`` last in this turn of the loop. I/O thread only."""
        self._thread.at_end_of_turn(function)

    def contained(self, function: Callable[..., None]) -> Callable[..., None]:
        """A callback for pika: what ``function`` raises replaces the connection instead of killing the I/O loop."""
        return lambda *arguments: self._thread.run_contained(lambda: function(*arguments))

    @property
    def loop(self) -> Any:
        """The I/O loop, for actors on the I/O thread with sockets of their own; after a fault it is another one."""
        return self._thread.loop

    @property
    def on_io_thread(self) -> bool:
        """True when the caller is the I/O thread: it must never wait for itself."""
        return self._thread.is_current

    @property
    def ended(self) -> bool:
        """The I/O thread will run nothing more: it has ended, or it stayed in the parent of a fork."""
        return self._thread.ended

    @property
    def is_ready(self) -> bool:
        """A connection is open (it may be blocked)."""
        return self._state is LinkState.READY

    @property
    def blocked(self) -> str | None:
        """The broker's reason for blocking this connection, None if it does not."""
        return self._blocked.reason

    @property
    def connection(self) -> Connection | None:
        """The open connection, for actors on the I/O thread."""
        return self._connection if self._state is LinkState.READY else None

    @property
    def refusal(self) -> ConnectionFailedError | None:
        """Why the broker does not let us in, when it never has: callers fail at once with it, each with its own."""
        return own_copy(self._refusal) if self._refusal is not None and self._epoch == 0 else None

    @property
    def is_held(self) -> bool:
        """No connection is open, and the circuit breaker is not closed: callers do not wait for one."""
        return self._attempts.is_held and self._state is not LinkState.READY

    @property
    def is_hopeless(self) -> bool:
        """Callers fail at once: with the refusal, or with :meth:`circuit_open`."""
        return self.is_held or self.refusal is not None

    def circuit_open(self, kind: type[CircuitOpenError] = CircuitOpenError) -> CircuitOpenError:
        """What a caller is told while :attr:`is_held`; counted by the breaker."""
        why = f"connection {self.name} is not ready ({self.why_not_ready()})"
        return self._attempts.refused(kind, why, self._last_error)

    @property
    def last_error(self) -> RmqpoolError | None:
        """The last error of a connection or an attempt."""
        return self._last_error

    def status(self) -> LinkStatus:
        """What this link is doing right now."""
        return LinkStatus(
            self.name,
            self._state,
            self._epoch,
            self._blocked.reason,
            self._blocked.seconds,
            self._last_error,
            self._broker,
            self._attempts.address,
            self._plan.attempts,
        )

    def wait_ready(self, deadline: float) -> None:
        """Wait until a connection is open.

        Raises at once the refusal (AuthenticationError, VirtualHostNotFoundError, …) if the broker never let us in, and
        CircuitOpenError while :attr:`is_held`; PoolTimeoutError at ``deadline`` (monotonic), PoolClosedError when closed.
        """
        with self._guard:
            while self._state is not LinkState.READY:
                if self._state in (LinkState.CLOSING, LinkState.CLOSED):
                    raise PoolClosedError(f"connection {self.name} is closed")
                probing = self._state is LinkState.CONNECTING and self._plan.attempts <= 1  # for the breaker, maybe
                held = self.is_held and not probing
                if (why := self.refusal or (self.circuit_open() if held else None)) is not None:
                    raise why
                if (remaining := deadline - time.monotonic()) <= 0:
                    sentence = f"connection {self.name} is not ready: {self.why_not_ready()}"
                    raise PoolTimeoutError(sentence) from self._last_error
                self._changed.wait(remaining)

    def why_not_ready(self) -> str:
        """A short clause for errors: what the link is doing, and what went wrong last."""
        doing = DOING.get(self._state, self._state)
        return f"{doing}; last error: {self._last_error}" if self._last_error else f"{doing}"

    def nudge(self) -> None:
        """Somebody needs the connection now: cut a running pause short (not after a refusal)."""
        if self._state is LinkState.WAITING and self._retry_at - time.monotonic() > NUDGED_DELAY:
            self._thread.post(self._cut_pause_short)

    def close(self, timeout: float) -> bool:
        """Close the connection and end the I/O thread within ``timeout`` seconds; True if all ended in time."""
        deadline = time.monotonic() + timeout
        with self._guard:
            if self._state is LinkState.NEW:
                self._state = LinkState.CLOSED
                return True
            if self._state not in (LinkState.CLOSING, LinkState.CLOSED):
                self._thread.post(lambda: self._close(max(0.1, timeout / 2)))
            while self._state is not LinkState.CLOSED and time.monotonic() < deadline and self._thread.is_alive:
                self._changed.wait(max(0.0, deadline - time.monotonic()))
        if self._state is not LinkState.CLOSED:
            self._thread.post(lambda: self._closed(None))
        return self._thread.join(max(0.05, deadline - time.monotonic()))

    def close_soon(self) -> None:
        """Begin to close without waiting; the I/O thread ends by itself."""
        self._thread.post(lambda: self._close(1.0))

    def abandon_after_fork(self) -> None:
        """In a forked child: the parent's thread and socket are not ours. Forget them without a word on the wire."""
        self._state = LinkState.CLOSED
        self._guard = threading.RLock()
        self._changed = threading.Condition(self._guard)
        self._thread.abandon_after_fork()

    # On the I/O thread: connecting

    def _connect(self) -> None:
        if self._state in (LinkState.CLOSING, LinkState.CLOSED, LinkState.READY) or self._attempts.is_running:
            return
        self._cancel_retry()
        if put_off := self._attempts.put_off():
            self._retry_in(put_off)
            self._set_state(LinkState.WAITING if self._state is LinkState.CONNECTING else self._state)
            if self.is_held:
                self._audience.refused(ConnectionFailedError(self.why_not_ready()))
            return
        self.attempt_began = time.monotonic()
        self._set_state(LinkState.CONNECTING)
        self._attempts.begin()

    def _on_attempt_done(self, result: Connection | ConnectionFailedError) -> None:
        if isinstance(result, ConnectionFailedError):
            self._on_attempt_failed(result)
        elif self._state is LinkState.CLOSING:
            result.abort(PoolClosedError("closed while connecting"))
        else:
            self._on_connected(result)

    def _on_attempt_failed(self, error: ConnectionFailedError) -> None:
        self._plan.failed()
        self._last_error = error
        refused = isinstance(error, REFUSALS)
        self._refusal = error if refused else None
        self._audience.event(LinkEvent.CONNECT_FAILED, str(error))
        level = logging.WARNING if refused or self._plan.worth_telling else logging.DEBUG
        _LOGGER.log(level, "connection %s: attempt %d failed: %s", self.name, self._plan.failures, error)
        self._schedule_retry(refused)
        if refused or self.is_held:
            self._audience.refused(error)

    def _schedule_retry(self, refused: bool) -> None:
        self._retry_in(self._plan.pause(refused, self._random()))
        self._set_state(LinkState.REFUSED if refused else LinkState.WAITING)

    def _retry_in(self, delay: float) -> None:
        self._cancel_retry()
        self._retry_at = time.monotonic() + delay
        self._retry_timer = self._thread.call_later(delay, self._connect)

    def _cut_pause_short(self) -> None:
        if self._state is LinkState.WAITING and not self._attempts.is_held:
            pause = self._plan.nudged_pause(self._retry_at - time.monotonic(), self._random())
            if pause is not None:
                self._retry_in(pause)

    def _on_connected(self, connection: Connection) -> None:
        self._connection = connection
        connection.add_on_close_callback(self.contained(self._on_lost))
        connection.add_on_connection_blocked_callback(self.contained(self._on_blocked))
        connection.add_on_connection_unblocked_callback(self.contained(self._on_unblocked))
        self._epoch += 1
        self._plan.succeeded()
        self._refusal = None
        self._broker = connection.broker
        heartbeat = connection.params.heartbeat or self.settings.heartbeat
        self._watchdog = Watchdog(self._thread, connection, heartbeat, self._on_silence)
        self._set_state(LinkState.READY)
        self._audience.event(LinkEvent.CONNECTED, f"connected to {self._attempts.address} ({self._broker})")
        _LOGGER.info("connection %s is open: %s, %s", self.name, self._attempts.address, self._broker)
        self._audience.up(connection, self._epoch)

    def _attach(self, actor: Actor) -> None:
        self._audience.add(actor)
        if self._state is LinkState.READY and self._connection is not None:
            actor.link_up(self._connection, self._epoch)
            if self._blocked.reason is not None:
                actor.link_blocked(self._blocked.reason)
        elif self.refusal is not None:
            actor.link_refused(self.refusal)
        elif self._state is LinkState.CLOSED:
            actor.link_down(PoolClosedError(f"connection {self.name} is closed"))

    # On the I/O thread: while connected

    def _on_silence(self, seconds: float, heartbeat: float) -> None:
        if self._connection is not None:
            self._connection.abort(silent(self.name, self._attempts.address, seconds, heartbeat))

    def _on_blocked(self, _connection: object, frame: Any) -> None:
        reason = str(frame.method.reason)
        self._blocked.begin(reason)
        self._audience.event(LinkEvent.BLOCKED, f"the broker blocks publishing: {reason}")
        _LOGGER.warning("connection %s is blocked by the broker: %s", self.name, reason)
        self._audience.blocked(reason)

    def _on_unblocked(self, *_: object) -> None:
        self._blocked.end()
        self._audience.event(LinkEvent.UNBLOCKED, "the broker takes messages again")
        _LOGGER.info("connection %s is no longer blocked", self.name)
        self._audience.unblocked()

    def _on_lost(self, connection: Connection, error: BaseException | None) -> None:
        if connection is not self._connection:
            return
        lost = connection_lost(error, self.name)
        self._drop(lost)
        if self._state is LinkState.CLOSING:
            self._closed(lost)
            return
        self._last_error = lost
        self._audience.event(LinkEvent.CONNECTION_LOST, str(lost))
        _LOGGER.warning("%s", lost)
        self._schedule_retry(refused=False)

    def _drop(self, error: RmqpoolError) -> None:
        """The connection is no more: every actor releases whoever waits."""
        self._connection = None
        self._blocked.end()
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        if self._state is LinkState.READY:
            self._set_state(LinkState.WAITING)
        self._audience.down(error)

    def _on_fault(self, error: BaseException) -> None:
        """An exception was contained: nobody knows what it left half-done, so the connection is replaced."""
        self._audience.event(LinkEvent.FAULT, f"an error inside the I/O thread was contained: {error!r}")
        if self._state in (LinkState.CLOSED, LinkState.NEW):
            return
        self._attempts.abort()
        connection = self._connection
        lost = replaced(self.name, error)
        self._last_error = lost
        self._drop(lost)
        if connection is not None:
            connection.abort_broken(lost, self.name)
        if self._state is LinkState.CLOSING:
            self._closed(None)
        else:
            self._plan.failed()
            self._schedule_retry(refused=False)

    # On the I/O thread: the end

    def _close(self, patience: float) -> None:
        if self._state in (LinkState.CLOSING, LinkState.CLOSED):
            return
        self._set_state(LinkState.CLOSING)
        self._cancel_retry()
        self._attempts.abort()
        connection = self._connection
        if connection is None or connection.is_closed:
            self._closed(None)
            return
        self._thread.call_later(patience, lambda: connection.abort(PoolClosedError("no close-ok within the time")))
        if connection.is_open:
            connection.close()

    def _closed(self, error: RmqpoolError | None) -> None:
        if self._state is LinkState.CLOSED:
            return
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.abort(error or PoolClosedError("closed"))
        self._set_state(LinkState.CLOSED)
        self._audience.end(PoolClosedError(f"connection {self.name} is closed"))
        self._audience.event(LinkEvent.CLOSED, "closed")
        self._thread.stop()

    def _cancel_retry(self) -> None:
        timer, self._retry_timer = self._retry_timer, None
        if timer is not None:
            timer.cancel()

    def _set_state(self, state: LinkState) -> None:
        with self._guard:
            self._state = state
            self._changed.notify_all()

    def __repr__(self) -> str:
        return f"<Link {self.name} {self._state}, epoch {self._epoch}{', blocked' if self._blocked.reason else ''}>"
