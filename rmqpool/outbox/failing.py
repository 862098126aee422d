"""Rows that left the usual way: which statements their outcomes ask for, and what their keys' stalls become."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from rmqpool.core.flight import Flight
from rmqpool.core.stalls import Stall, Stalls
from rmqpool.outbox.failure_log import FailureLog
from rmqpool.outbox.forgotten import Forgotten
from rmqpool.outbox.outflow import Failure
from rmqpool.outbox.relay_values import Counters
from rmqpool.outbox.relay_work import AddStalls, Bury, Delete, Hold, SetStall, SetStalls, Unstall, Work
from rmqpool.outbox.rows import Row

__all__ = ["Failing", "HeldRows", "Settler"]

_NOT_YET: Final = 0.05  # seconds: its rows are just being moved
_MOST_AT_ONCE: Final = 100  # stalled keys tried in one turn


class HeldRows(Protocol):
    """Where the held rows of a key are read, if its lane is owned."""

    @property
    def owned(self) -> Collection[int]: ...
    def fetch_held(self, stall: str, limit: int, max_bytes: int) -> list[Row]: ...


class Settler(Protocol):
    """Who runs the statements."""

    def add(self, *work: Work) -> None: ...
    def collect(self) -> list[tuple[Work, bool]]: ...


class Failing:
    """Decides over outcomes. Belongs to the relay's thread."""

    def __init__(self, flight: Flight[Row], stalls: Stalls, settling: Settler, counters: Counters) -> None:
        self._flight = flight
        self._stalls = stalls
        self._settling = settling
        self._counters = counters
        self.log = FailureLog()
        self.forgotten = Forgotten(settling)
        self._held: set[int] = set()  # ids in hand that were read from the held table
        self._late: set[int] = set()  # held rows that were on their way when one of their key failed: no attempts

    def confirmed(self, rows: Sequence[Row], now: float) -> None:
        """The broker took these."""
        ids = [row.id for row in rows]
        self._flight.finished(ids)
        if not self._held:
            self._delete(rows, held=False)
            return
        held = [row for row in rows if row.id in self._held]
        hot = [row for row in rows if row.id not in self._held]
        for row in rows:
            if row.id in self._held and row.id not in self._late:
                self._stalls.confirmed(row.stall, now)
        if hot:
            self._delete(hot, held=False)
        if held:
            self._delete(held, held=True)

    def failed(self, failure: Failure, now: float, random: float) -> None:
        """The broker returned or refused this one."""
        row, held = failure.row, failure.row.id in self._held
        self._counters.failed += 1
        self._flight.finished([row.id])
        known = self._stalls.get(row.stall)
        attempts = (known.attempts if known else 0) + 1  # a key's count begins anew when a row of it is given up
        if failure.hopeless:
            if known is not None and held and row.id not in self._late:
                known.attempts = 0
            self.log.failed(failure, now, None)
            self._bury(failure, held, attempts)
            return
        if known is not None and not held:  # it was on its way when its key began to stall
            self.hold([row.id])
            return
        if known is not None and row.id in self._late:  # one failure for all rows that left together
            self._back([row.id], known)
            return
        stall, give_up = self._stalls.failed(row.stall, row.lane, now, random)
        delay = max(0.0, stall.next_at - now)
        self.log.failed(failure, now, None if give_up else delay)
        self._stalls.writing([row.stall])
        self._settling.add(SetStall(row.stall, row.lane, stall.attempts, delay, failure.reason, failure.error))
        unsent = self._flight.take_out(row.stall)
        if give_up:
            self._bury(failure, held, attempts)
        elif held:
            self._back([row.id], stall)
        else:
            self.hold([row.id])
        if held:
            self._back(unsent, stall)
            self._late.update(row_id for row_id in self._held if row_id != row.id and self._is_of(row_id, stall))
        else:
            self.hold(unsent)

    def hold(self, ids: Sequence[int]) -> None:
        """Move these out of the hot table's way."""
        if ids:
            rows = [row for row in map(self._flight.get, ids) if row is not None]
            stalls = tuple(sorted({row.stall for row in rows}))
            self._stalls.writing(stalls)
            self._settling.add(Hold(tuple(row.id for row in rows), tuple(row.message_id for row in rows), stalls))

    def read_due(self, claim: HeldRows, limit: int, now: float) -> bool:
        """Read the held rows of the keys that are due: one, or many once one was confirmed. True if there were some."""
        found = False
        for stall in self._stalls.due(now)[:_MOST_AT_ONCE]:
            if stall.lane not in claim.owned:
                self._not_here(stall, now)
                continue
            room, room_bytes = min(limit, self._flight.room), self._flight.room_bytes
            if not room or not room_bytes:
                break
            rows = claim.fetch_held(stall.name, room if stall.flows else 1, room_bytes)
            new = [row for row in rows if row.id not in self._flight]
            if not rows and not stall.unwritten:
                stall.busy = 1  # until the statement has run
                self._settling.add(Unstall(stall.name))
            elif not new:
                stall.next_at = now + _NOT_YET
            else:
                stall.busy = len(new)
                self._held.update(row.id for row in new)
                self._flight.take(new)
                found = True
        return found

    def apply_done(self, now: float) -> None:
        """The statements that have run: what they removed is not in hand any more."""
        for work, done in self._settling.collect():
            match work:
                case Delete(ids, held):
                    self._counters.removed += len(ids)
                    self._removed(ids, held=held)
                case Hold(ids, _, stalls):
                    self._stalls.written(stalls)
                    self._flight.removed(ids)
                case SetStall(name):
                    self._stalls.written([name])
                case SetStalls(given):
                    self._stalls.written([one.stall for one in given])
                case AddStalls():
                    self.forgotten.added()
                case Bury(row_id, held):
                    self._counters.buried += 1
                    self._removed((row_id,), held=held)
                case Unstall(name):
                    self._unstalled(name, done, now)

    def leave(self, rows: Sequence[Row]) -> None:
        """These were sent when other lanes were owned, and nobody knows whether they arrived: they stay in the table.

        Whoever owns their lanes now reads them there.
        """
        ids = [row.id for row in rows]
        self._flight.finished(ids)
        for row in rows:
            stall = self._stalls.get(row.stall) if row.id in self._held else None
            if stall is not None:
                stall.busy = max(0, stall.busy - 1)
        self._held.difference_update(ids)
        self._late.difference_update(ids)
        self._flight.removed(ids)

    def forget(self) -> None:
        """The lanes are lost, and the stalls forgotten."""
        self._held = {row_id for row_id in self._held if row_id in self._flight}
        self._late &= self._held

    def _unstalled(self, name: str, done: bool, now: float) -> None:
        stall = self._stalls.get(name)
        if stall is None:
            return
        if done and not stall.unwritten:  # else rows are being held since: what is read now must not overtake them
            self._stalls.over(name)
        else:  # if it ran twice, the table knows nothing of it: the next housekeeping ends it
            stall.busy, stall.next_at = 0, now + _NOT_YET

    def _not_here(self, stall: Stall, now: float) -> None:
        """Its held rows are the business of the lane's owner; only what is not written yet keeps it here."""
        if stall.unwritten:
            stall.next_at = now + _NOT_YET
        else:
            self._stalls.over(stall.name)

    def _is_of(self, row_id: int, stall: Stall) -> bool:
        row = self._flight.get(row_id)
        return row is not None and row.stall == stall.name

    def _bury(self, failure: Failure, held: bool, attempts: int) -> None:
        row = failure.row
        self._settling.add(Bury(row.id, held, attempts, failure.reason, failure.error, row.message_id))

    def _delete(self, rows: Sequence[Row], *, held: bool) -> None:
        self._settling.add(Delete(tuple(row.id for row in rows), held, tuple(row.message_id for row in rows)))

    def _back(self, ids: Sequence[int], stall: Stall) -> None:
        """They stay in the held table, and are read again when the key is due."""
        self._flight.removed(ids)
        self._held.difference_update(ids)
        self._late.difference_update(ids)
        stall.busy = max(0, stall.busy - len(ids))

    def _removed(self, ids: Sequence[int], *, held: bool) -> None:
        if held:
            self._held.difference_update(ids)
            self._late.difference_update(ids)
            for row in map(self._flight.get, ids):
                stall = None if row is None else self._stalls.get(row.stall)
                if stall is not None:
                    stall.busy = max(0, stall.busy - 1)
        self._flight.removed(ids)
