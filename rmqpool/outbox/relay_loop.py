"""What the relay's thread does, turn by turn: outcomes, finished statements, housekeeping, sending, reading, resting."""

from __future__ import annotations

import logging
import math
import random
import time
from typing import Final

import psycopg

from rmqpool.core.flight import Flight
from rmqpool.core.lanes import LANES, fair_share, lanes_to_give_up
from rmqpool.core.pace import Pace
from rmqpool.core.stalls import Stalls
from rmqpool.errors import ConnectionFailedError, OutboxSchemaError
from rmqpool.outbox.broker_watch import BrokerWatch
from rmqpool.outbox.claim import Claim
from rmqpool.outbox.doorbell import Doorbell
from rmqpool.outbox.failing import Failing
from rmqpool.outbox.migrations import check_version
from rmqpool.outbox.outflow import Outflow, Verdicts
from rmqpool.outbox.readiness import WakeUp, wait_readable
from rmqpool.outbox.refusals import relay_trouble
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.outbox.relay_values import Counters, RelayOptions
from rmqpool.outbox.rows import Row
from rmqpool.outbox.settling import Settling
from rmqpool.outbox.trouble import TroubleLog
from rmqpool.publisher import Publisher

__all__ = ["RelayLoop"]

_LOGGER = logging.getLogger("rmqpool.outbox.relay")
_HOUSEKEEPING_EVERY: Final = 1.0  # seconds
_WITHOUT_LANES: Final = 0.1  # seconds: lanes of a dead relay are taken soon
_OLDEST_TRANSACTION: Final = 30.0  # seconds, then the lane transaction begins anew when nothing is in hand
_LAST_STATEMENTS: Final = 5.0  # seconds that the settling thread has when the relay died
_SWEEP_SHARE: Final = 50  # a sweep takes a fiftieth of the time at most
_SETTINGS: Final = {"synchronous_commit": "off", "lock_timeout": "10s", "statement_timeout": "60s"}
Lost = (psycopg.Error, ConnectionFailedError)


class RelayLoop:
    """The relay's work and its state. Everything but :meth:`wake` and :meth:`stop` belongs to one thread."""

    def __init__(self, options: RelayOptions, publisher: Publisher) -> None:
        self.options = options
        self.counters = Counters()
        self.trouble = ""
        self._told = TroubleLog(options.name, _LOGGER)
        self.relays = 0
        in_hand = options.batch_size * options.batches_in_flight
        self.flight: Flight[Row] = Flight(in_hand, options.key_window, options.max_bytes)
        self.stalls = Stalls(options.stall_backoff, options.max_attempts)
        self.claim: Claim | None = None
        self._statements = RelayStatements(options.tables)
        self._outflow = Outflow(publisher, options.publish_timeout, self.wake)
        self._settling = Settling(
            self._connect_settling, self._statements, options.reconnect_backoff, self.wake, options.name
        )
        self._broker = BrokerWatch(publisher.pool)
        self._failing = Failing(self.flight, self.stalls, self._settling, self.counters)
        self._pace = Pace(options.shortest_poll, options.longest_poll, options.awake_for)
        self._bell: Doorbell | None = None
        self._opening: RelayConnection | None = None
        self._stopping = False
        self._stop_by = math.inf
        self._giving_up = False
        self._begun_at = 0.0
        self._next_housekeeping = 0.0
        self._next_sweep = 0.0
        self._send_from = 0.0
        self._failed_sends = 0
        self._sent_before: set[int] = set()  # ids on their way that were read under an earlier claim
        self._looked_at_stalls = self._was_full = self._read_all = False
        self._wake_up = WakeUp()

    # From any thread

    def wake(self) -> None:
        """Have the next turn now."""
        self._wake_up.ring()

    def stop(self, deadline: float) -> None:
        """Read nothing more, and end when nothing is on its way, at ``deadline`` (monotonic) at the latest."""
        self._stop_by = deadline
        self._stopping = True
        self.wake()

    def abort(self) -> None:
        """Cut the connections under statements that do not end."""
        claim, bell = self.claim, self._bell
        connections = [one.connection for one in (claim, bell) if one is not None]
        if self._opening is not None:
            connections.append(self._opening)
        for connection in connections:
            connection.abort()

    @property
    def settling_trouble(self) -> str:
        """Why rows stay where they are although they should not; empty if they do not."""
        return self._settling.trouble

    @property
    def statements(self) -> int:
        """Statements on the connections that are open now."""
        open_now = [one.connection.statements for one in (self.claim, self._bell) if one is not None]
        return self._settling.statements + sum(open_now)

    def run(self) -> None:
        """Work until :meth:`stop`. A lost connection is opened again, with backoff; nothing in hand is forgotten."""
        self._settling.start()
        self._broker.open()
        attempt = 0
        died = True
        try:
            while not self._stopping:
                try:
                    claim = self._open()
                    attempt = 0
                    while not self._is_finished():
                        self._turn(claim)
                except Lost as error:
                    attempt += 1
                    self._lost(error, attempt)
                except OutboxSchemaError as error:  # somebody may be about to migrate
                    attempt += 1
                    self._lost(error, attempt + 3)
            died = False
        finally:
            self._end(died)

    def _is_finished(self) -> bool:
        if not self._stopping:
            return False
        self.flight.drop_unsent()
        return len(self.flight) == 0 or time.monotonic() >= self._stop_by

    def _turn(self, claim: Claim) -> None:
        if self._settling.died is not None:
            raise self._settling.died
        self._collect()
        self._failing.apply_done(time.monotonic())  # before anything is read: what is gone must not be read again
        now = time.monotonic()
        if now >= self._next_housekeeping and not self._stopping:
            self._keep_house(claim, now)
        self._send(claim)
        has_room = self._was_full and self.flight.is_worth_reading(self.options.batch_size)
        found = (has_room or now >= self._next_look()) and self._look(claim)
        if not found:
            self._rest(claim)

    def _look(self, claim: Claim) -> bool:
        """Read what there is, and send it. After all of it, the next look is after the pace's wait."""
        self._read_all = True
        found = self._read(claim)
        if found:
            self._pace.found(time.monotonic())
            self._send(claim)
        if self._read_all:
            self._pace.looked(time.monotonic())
        return found

    def _next_look(self) -> float:
        """When to read again: after the pace's wait, or when a stalled key is due."""
        due = self.stalls.next_due() if self._looked_at_stalls else None
        return self._pace.due if due is None else min(self._pace.due, due)

    def _collect(self) -> None:
        verdicts = self._outflow.collect()
        if not verdicts:
            return
        now = time.monotonic()
        if self._sent_before:
            self._leave_to_the_owners(verdicts)
        if verdicts.confirmed:
            self._failed_sends = 0
            self.counters.confirmed += len(verdicts.confirmed)
            self._failing.confirmed(verdicts.confirmed, now)
        for failure in verdicts.failed:
            self._failing.failed(failure, now, random.random())
        if verdicts.again:
            self.counters.sent_again += len(verdicts.again)
            self.flight.send_again(row.id for row in verdicts.again)
            self._failed_sends += 1
            self._say(f"messages have no outcome, and are sent again: {verdicts.trouble}")
            self._send_from = now + self.options.reconnect_backoff.delay(self._failed_sends, random.random())
        elif verdicts.confirmed:
            self._say("")

    def _leave_to_the_owners(self, verdicts: Verdicts) -> None:
        """What was sent under an earlier claim and was not confirmed is in the table, for whoever owns its lane now."""
        left = [row for row in verdicts.again if row.id in self._sent_before]
        left += [failure.row for failure in verdicts.failed if failure.row.id in self._sent_before]
        if left:
            self._failing.leave(left)
            verdicts.again = [row for row in verdicts.again if row.id not in self._sent_before]
            verdicts.failed = [failure for failure in verdicts.failed if failure.row.id not in self._sent_before]
        self._sent_before.difference_update(row.id for row in left)

    def _send(self, claim: Claim) -> None:
        if self._stopping or time.monotonic() < self._send_from or not self.flight.waiting:
            return
        if claim.lease.is_broken:
            if self.flight.on_their_way:
                return
            claim.begin_lease()
        if time.monotonic() >= claim.lease.end:
            claim.renew()  # this process was stopped for a while: whose are the lanes?
        while rows := self.flight.next_to_send(self.options.batch_size):
            self._outflow.send(rows, claim.lease)

    def _read(self, claim: Claim) -> bool:
        self._looked_at_stalls = False
        self._was_full = not self.flight.is_worth_reading(self.options.batch_size)
        if self._stopping or self._giving_up or self._was_full or time.monotonic() < self._send_from:
            claim.renew()
            return False
        limit, room_bytes = min(self.options.batch_size, self.flight.room), self.flight.room_bytes
        if self._sent_before:
            self._sent_before.intersection_update(self.flight.ids)
        rows = claim.fetch(limit, room_bytes, self.flight.ids, settles=not self._sent_before)
        self._looked_at_stalls = True
        self._read_all = len(rows) < limit // 4 and sum(len(row.body) for row in rows) < room_bytes // 4
        self.counters.fetches += 1
        found = self._take(rows)
        return self._failing.read_due(claim, limit, time.monotonic()) or found

    def _take(self, rows: list[Row]) -> bool:
        before = len(self.flight)
        self._failing.hold(self.flight.take(rows, self.stalls.names))
        self.counters.read += len(self.flight) - before
        return len(self.flight) > before

    def _keep_house(self, claim: Claim, now: float) -> None:
        """Count the relays, take lanes or give some up, look below the floor."""
        self._failing.log.tell_over(now)
        if self._stands_by(claim, now):
            self._next_housekeeping = now + _WITHOUT_LANES
            return
        self.relays = claim.count_relays()
        strict = self.options.order == "strict"
        share = LANES if strict else fair_share(self.relays)
        self._giving_up = not strict and len(claim.owned) > share
        too_old = now - self._begun_at > _OLDEST_TRANSACTION and not len(self.flight)
        if (self._giving_up or too_old) and not len(self.flight):
            given_up = lanes_to_give_up(claim.owned, self.relays) if self._giving_up else []
            self._begin_anew(claim, claim.owned.difference(given_up), now)
        elif len(claim.owned) < share:
            new = claim.take_lanes(share)
            if claim.is_kept_out:
                self._say(
                    "strict order needs all lanes, and relays of another order own some: stop them, or use their order"
                )
            if new:
                _LOGGER.info("%s owns %d lanes of %d", self.options.name, len(claim.owned), LANES)
        self.stalls.learn(claim.stalls(claim.owned), now)
        if now >= self._next_sweep and not self._giving_up:
            self._sweep(claim)
        soon = self._giving_up or not claim.owned
        self._next_housekeeping = now + (_WITHOUT_LANES if soon else _HOUSEKEEPING_EVERY)

    def _stands_by(self, claim: Claim, now: float) -> bool:
        """Without a broker nothing is read, and the lanes are left to others as soon as nothing is in hand."""
        if self._broker.is_away(now):
            self._giving_up = True
            self.flight.drop_unsent()
            if not claim.stands_by and not len(self.flight):
                claim.stand_by()
                self.stalls.forget()
                self._failing.forget()
            self._say("there is no connection to the broker, so its lanes are left to other relays")
            return True
        if claim.stands_by:
            self._begin_anew(claim, set(), now)
            self._say("")
        return False

    def _begin_anew(self, claim: Claim, keep: set[int], now: float) -> None:
        claim.begin_anew(keep)
        self.stalls.forget()
        self._begun_at = now
        self._giving_up = False

    def _sweep(self, claim: Claim) -> None:
        started = time.monotonic()
        strays = self.flight.unknown(claim.sweep(len(self.flight) + self.options.batch_size))
        rows = claim.fetch_ids(strays[: self.flight.room], self.flight.room_bytes)
        self.counters.swept += len(rows)
        self._failing.forgotten.look(claim)
        if self._take(rows):
            self._pace.found(started)
        took = time.monotonic() - started
        self._next_sweep = started + max(self.options.sweep_every, took * _SWEEP_SHARE)

    def _rest(self, claim: Claim) -> None:
        """Wait for an outcome, a ring, the next poll, or something to stop for."""
        now = time.monotonic()
        bell = self._bell
        if bell is not None:
            if self.relays > 1 or not self._pace.is_awake(now):
                if bell.is_silent:
                    bell.listen()
                    self._pace.hurry()
                    return  # and look once more
            elif claim.owns_all:
                bell.silence()
        wait = max(0.0, self._next_look() - now)
        if self.flight.on_their_way:
            wait = min(wait, 0.02)
        woken = self._wake_up.fileno()
        ready = wait_readable([woken] if bell is None else [woken, bell.fileno()], wait)
        if woken in ready:
            self._wake_up.drain()
        if bell is not None and bell.fileno() in ready and bell.has_rung():
            self._pace.hurry()

    def _open(self) -> Claim:
        options = self.options
        connection = RelayConnection(options.database, f"{options.name} lanes", autocommit=False, client_side=True)
        self._opening = connection
        try:
            check_version(connection.raw, options.tables)
            connection.raw.commit()
            self.claim = claim = Claim(connection, self._statements, strict=options.order == "strict")
        except BaseException:
            connection.close()
            raise
        finally:
            self._opening = None
        self._begun_at = time.monotonic()
        self._next_housekeeping = self._next_sweep = 0.0
        self._giving_up = False
        if options.doorbell and not options.pgbouncer:
            self._bell = Doorbell(
                RelayConnection(options.database, f"{options.name} doorbell", autocommit=True), self._statements
            )
        self._settling.release_rows(True)
        self._say("")
        return claim

    def _connect_settling(self) -> RelayConnection:
        options, name = self.options, f"{self.options.name} settling"
        return RelayConnection(options.database, name, autocommit=True, settings=_SETTINGS, each_time=options.pgbouncer)

    def _lost(self, error: Exception, attempt: int) -> None:
        """The lanes are gone: what was not sent is somebody else's; what was sent is settled as it comes."""
        self._close()
        self._say(f"no work with Postgres: {relay_trouble(error, self.options.tables)}")
        until = time.monotonic() + max(0.05, self.options.reconnect_backoff.delay(attempt, random.random()))
        while not self._stopping and (remaining := until - time.monotonic()) > 0:
            wait_readable([self._wake_up.fileno()], remaining)
            self._wake_up.drain()
            self._collect()
            self._failing.apply_done(time.monotonic())

    def _close(self) -> None:
        self._settling.release_rows(False)
        claim, self.claim = self.claim, None
        bell, self._bell = self._bell, None
        if claim is not None:
            claim.close()
        if bell is not None:
            bell.close()
        self.flight.drop_unsent()
        self._sent_before.update(self.flight.ids)
        self.stalls.forget()
        self._failing.forget()

    def _end(self, died: bool) -> None:
        """``died``: of an error of its own, which is raised afterwards; everything is closed all the same."""
        try:
            if not died:
                self._settle_what_is_on_its_way()
        finally:
            self._failing.log.tell_over(math.inf)
            try:
                self._close()
            finally:
                self._settling.end()
                self._settling.join(_LAST_STATEMENTS if died else max(0.5, self._stop_by - time.monotonic()))
                self._wake_up.close()

    def _settle_what_is_on_its_way(self) -> None:
        """Stopped while Postgres was away: outcomes still come, and their deletes may still succeed."""
        self.flight.drop_unsent()
        while len(self.flight) and time.monotonic() < self._stop_by:
            self._collect()
            self.flight.drop_unsent()
            self._failing.apply_done(time.monotonic())
            wait_readable([self._wake_up.fileno()], 0.02)
            self._wake_up.drain()

    def _say(self, trouble: str) -> None:
        self._told.tell(trouble, time.monotonic())
        self.trouble = trouble
