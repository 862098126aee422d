"""Moves a classic queue to a quorum queue of the same name. It may be killed at any point, and is then run again.

The steps, and how it finds out where it was, stand in :mod:`rmqpool.core.queue_migration`. Two things make it safe: the
old queue is deleted only after a while in which nothing came to it, and when RabbitMQ itself finds it empty and unused;
and the management API told before, by figures that were new enough, that nobody holds a message unacknowledged.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rmqpool.core.queue_migration import (
    MARK,
    Found,
    Stage,
    next_stage,
    quorum_successor,
    successor_in,
    temporary_arguments,
    temporary_name,
)
from rmqpool.core.topology_facts import QUEUE_TYPE
from rmqpool.errors import (
    AccessRefusedError,
    MigrationError,
    PreconditionFailedError,
    ResourceLockedError,
)
from rmqpool.lease import LeasedChannel
from rmqpool.planning.hops import message_back, message_out
from rmqpool.planning.moving import Mover
from rmqpool.planning.rebinding import bind_exchange_to, carry_bindings, check_policy, declare_missing, try_declaration
from rmqpool.planning.view import BrokerView
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import Publisher
from rmqpool.topology import Queue

__all__ = ["Migration", "MigrationOptions", "MigrationReport"]

_SILENCE = 0.3  # seconds without a message: most was moved
_LAST_SILENCE = 0.01  # before the queue is deleted: short, as publishers may go on
_LAST = 5.0  # seconds for one attempt to find the queue empty
_LOCK = 10.0  # seconds that the lock of a process that was killed may last
_MOST_STAGES = 50


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """``window``: messages without a confirm at most, which a kill may double. ``figures_age``: how old, in seconds, what
    the management API counts may be: more than the broker's ``collect_statistics_interval``, 5 by default. ``timeout``:
    seconds for the whole. ``consumers_timeout``: seconds to wait until the consumers are gone; 0 refuses while there are
    any.
    """

    window: int = 100
    figures_age: float = 6.0
    timeout: float = 3600.0
    consumers_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What one run did: the stages it went through, and how many messages it moved (out and back count both)."""

    stages: tuple[Stage, ...]
    moved: int


class Migration:
    """One run. ``successor`` is the new queue, None for what the classic one did as a quorum queue.

    ``on_step`` is told the name of each step when it is done, and ``confirmed`` for each message between its confirm and
    its acknowledgement. Raises MigrationError, and whatever the broker says; nothing is lost then. Not thread-safe.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        view: BrokerView,
        queue: str,
        successor: Queue | None = None,
        options: MigrationOptions | None = None,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._pool, self._view = pool, view
        self._queue, self._temporary = queue, temporary_name(queue)
        self._successor = successor
        self._options = options or MigrationOptions()
        self._told = on_step
        self._publisher = Publisher(pool)
        self._deadline = 0.0
        self._mover = Mover(
            self._publisher, window=self._options.window, timeout=30.0, on_confirmed=lambda: on_step("confirmed")
        )

    def stage(self) -> Stage:
        """What comes next. Changes nothing. Raises MigrationError."""
        old, temporary = self._view.queue(self._queue), self._view.queue(self._temporary)
        return next_stage(
            self._queue,
            Found(old.get("type") or "classic") if old is not None else None,
            Found("quorum", MARK in (temporary.get("arguments") or {})) if temporary is not None else None,
        )

    def successor(self) -> tuple[Queue, tuple[str, ...]]:
        """The new queue, and the arguments of the old one that it cannot keep. Raises MigrationError."""
        temporary = self._view.queue(self._temporary)
        if temporary is not None:
            return successor_in(self._queue, temporary.get("arguments") or {}), ()
        told = self._view.queue(self._queue)
        if told is None:
            raise MigrationError(f"queue {self._queue!r} does not exist: look for its name with rmqpool queues")
        self._check_successor()
        derived, dropped = quorum_successor(told)
        return (derived, dropped) if self._successor is None else (self._successor, ())

    def _check_successor(self) -> None:
        """What would not become a quorum queue could not be told from the old one, once that is deleted."""
        if self._successor is not None and self._successor.declare_arguments().get(QUEUE_TYPE) != "quorum":
            raise MigrationError(
                f"the declaration of {self._queue!r} does not say x-queue-type=quorum (it is passive, or leaves the type out): "
                "name one that does with --as, or leave --as out"
            )

    def run(self) -> MigrationReport:
        """Do what is left to do. One run at a time: a lock on the broker refuses a second one."""
        self._deadline = time.monotonic() + self._options.timeout
        stages: list[Stage] = []
        steps = {
            Stage.PREPARE: self._prepare,
            Stage.EMPTY: self._empty,
            Stage.DECLARE: self._declare,
            Stage.RETURN: self._return,
        }
        with self._locked() as lock:
            while (stage := self.stage()) is not Stage.DONE:
                if not lock.is_open or len(stages) >= _MOST_STAGES:
                    raise MigrationError(
                        f"the migration of {self._queue!r} was disturbed: nothing is lost, run it again"
                    )
                stages.append(stage)
                steps[stage]()
            self._clean_up()
        return MigrationReport(tuple(stages), self._mover.moved)

    # The stages

    def _prepare(self) -> None:
        successor, _ = self.successor()
        self._wait_for_consumers()
        declare_missing(self._pool, successor.implied())
        try_declaration(self._pool, successor)
        self._told("tried")
        with self._pool.channel() as channel:
            channel.exchange_declare(self._temporary, "fanout", arguments={MARK: "1"})
            self._told("exchange")
            if not self._exchange_is_ours():  # RabbitMQ takes a fanout exchange with other arguments for the same
                raise MigrationError(
                    f"there is an exchange {self._temporary!r} that no migration made: rename or delete it, and run this again"
                )
            channel.queue_declare(self._temporary, arguments=temporary_arguments(successor))
        self._told("temporary")

    def _empty(self) -> None:
        self._wait_for_consumers()
        check_policy(self._view, self._temporary)
        bind_exchange_to(self._pool, self._temporary, self._temporary)
        self._pause_for_old_brokers()
        self._carry_bindings(self._queue, self._temporary)
        successor, _ = self.successor()
        while not self._replaced(successor):
            self._check_deadline(
                "messages, bindings or consumers still come to it; pause the publishers that publish to it by name, as what "
                "they publish while it is deleted would be confirmed and lost. Then run this again"
            )

    def _replaced(self, successor: Queue) -> bool:
        """Move everything; if nothing came for a while, delete and declare. False if something came.

        RabbitMQ confirms what it routed to a queue that is deleted meanwhile, and drops it: so nothing may be on its way.
        The last acknowledgements and the deletion go through one channel, and are done in this order.
        """
        with self._pool.channel() as channel:
            ready = channel.queue_declare(self._queue, passive=True).message_count
            self._drain_old(channel, _SILENCE, ready)
        self._told("moved")
        self._wait_until_nothing_is_held(self._queue)
        self._told("looked")
        if self._carry_bindings(self._queue, self._temporary):
            return False
        with self._pool.channel() as channel:
            if self._drain_old(channel, _LAST_SILENCE):
                return False
            self._told("last")
            try:
                channel.queue_delete(self._queue, if_unused=True, if_empty=True)
            except PreconditionFailedError:
                return False
            self._told("deleted")
            self._declare_on(channel, successor)  # at once: until then nobody can publish to the queue by name
        return True

    def _declare(self) -> None:
        successor, _ = self.successor()
        declare_missing(self._pool, successor.implied())
        with self._pool.channel() as channel:
            self._declare_on(channel, successor)

    def _declare_on(self, channel: LeasedChannel, successor: Queue) -> None:
        try:
            channel.queue_declare(successor)
        except PreconditionFailedError:
            if self.stage() not in (Stage.EMPTY, Stage.RETURN):
                raise
            return  # somebody declared it in between: as a quorum queue of his own, or a classic one, emptied again
        self._told("declared")

    def _return(self) -> None:
        bind_exchange_to(self._pool, self._temporary, self._queue)
        self._told("turned")
        self._carry_bindings(self._temporary, self._queue)
        self._pause_for_old_brokers()
        moved = 1
        while moved:
            with self._pool.channel() as channel:
                self._drain_temporary(channel)
            self._told("returned")
            self._wait_until_nothing_is_held(self._temporary)
            with self._pool.channel() as channel:
                moved = self._drain_temporary(channel)
            self._check_deadline("something still publishes to the temporary queue: find it, and run this again")
        with self._pool.channel() as channel:
            channel.queue_delete(self._temporary)  # quorum queues know neither if-unused nor if-empty
        self._told("removed")

    def _clean_up(self) -> None:
        """The exchange is left when the process was killed after the temporary queue was deleted."""
        if self._exchange_is_ours():
            with self._pool.channel() as channel:
                channel.exchange_delete(self._temporary)
            self._told("cleaned")

    # Their parts

    def _exchange_is_ours(self) -> bool:
        found = [told for told in self._view.exchanges() if told["name"] == self._temporary]
        return bool(found) and MARK in (found[0].get("arguments") or {})

    def _carry_bindings(self, source: str, target: str) -> int:
        return carry_bindings(self._pool, self._view, source, target, self._temporary, self._told)

    def _drain_old(self, channel: LeasedChannel, silence: float, most: int | None = None) -> int:
        user, until = self._pool.settings.user, min(self._deadline, time.monotonic() + _LAST)
        try:
            return self._mover.drain(
                channel,
                self._queue,
                lambda one: message_out(one, self._temporary, user),
                silence=silence,
                until=self._deadline if most is not None else until,
                most=most,
            )
        except AccessRefusedError as error:
            raise MigrationError(
                f"queue {self._queue!r} cannot be consumed alone: stop its consumers ({error})"
            ) from error

    def _drain_temporary(self, channel: LeasedChannel) -> int:
        user = self._pool.settings.user
        return self._mover.drain(
            channel,
            self._temporary,
            lambda one: message_back(one, self._temporary, self._queue, user),
            silence=_SILENCE,
            until=self._deadline,
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[LeasedChannel]:
        """An exclusive queue, which the broker deletes with the connection, however the process ends."""
        until = time.monotonic() + min(_LOCK, self._options.timeout)
        name = f"{self._temporary}.lock"
        while True:
            with self._pool.channel() as channel:
                try:
                    channel.queue_declare(name, durable=False, exclusive=True)
                except ResourceLockedError:
                    if time.monotonic() > until:
                        raise MigrationError(
                            f"another migration of {self._queue!r} runs just now: let it end, or stop it"
                        ) from None
                else:
                    self._told("locked")
                    try:
                        yield channel
                    finally:
                        if channel.is_open:
                            channel.queue_delete(name)
                    return
            _pause(0.2)

    def _wait_for_consumers(self) -> None:
        until = min(self._deadline, time.monotonic() + self._options.consumers_timeout)
        while count := self._consumers(self._queue):
            if time.monotonic() >= until:
                raise MigrationError(
                    f"queue {self._queue!r} has {count} consumer{'' if count == 1 else 's'}: stop them (their own "
                    "declarations would not fit the new queue either), or wait for it with --wait"
                )
            _pause(0.2)

    def _consumers(self, queue: str) -> int:
        with self._pool.channel() as channel:
            return channel.queue_declare(queue, passive=True).consumer_count

    def _wait_until_nothing_is_held(self, queue: str) -> None:
        """Until figures newer than our own last acknowledgement say that nobody holds an unacknowledged message."""
        while True:
            _pause(self._options.figures_age)
            held = self._view.unacknowledged(queue)
            if held == 0:
                return
            what = f"{held} unacknowledged message{'' if held == 1 else 's'}"
            self._check_deadline(
                "the management API counts no messages, and it cannot be known whether somebody holds one"
                if held is None
                else f"somebody holds {what} of it: stop whoever it is (rmqpool queues {queue})"
            )

    def _pause_for_old_brokers(self) -> None:
        """RabbitMQ 3.x writes down half a second late which quorum queues it has: killed before, it loses their messages."""
        if (self._pool.broker_generation or 3) < 4:
            _pause(min(1.0, self._options.figures_age))

    def _check_deadline(self, why: str) -> None:
        if time.monotonic() > self._deadline:
            raise MigrationError(f"queue {self._queue!r} was not migrated within {self._options.timeout:g} s: {why}")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
