"""Rows that left the usual way: which statements their outcomes ask for, and what their keys' stalls become."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

from rmqpool.core.flight import Flight
from rmqpool.core.stalls import Stall, Stalls
from rmqpool.outbox.outflow import Failure
from rmqpool.outbox.relay_values import Counters
from rmqpool.outbox.relay_work import Bury, Delete, Hold, SetStall, Unstall, Work
from rmqpool.outbox.rows import Row

__all__ = ["Failing", "HeldRows", "Settler"]

_LOGGER = logging.getLogger("rmqpool.outbox.relay")
_NOT_YET: Final = 0.05  # seconds: its rows are just being moved
_MOST_AT_ONCE: Final = 100  # stalled keys tried in one turn


class HeldRows(Protocol):
    """Where the held rows of a key are read."""

    def fetch_held(self, stall: str, limit: int) -> list[Row]: ...


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
        self._held: set[int] = set()  # ids in hand that were read from the held table

    def confirmed(self, rows: Sequence[Row], now: float) -> None:
        """The broker took these."""
        ids = [row.id for row in rows]
        self._flight.finished(ids)
        if not self._held:
            self._settling.add(Delete(tuple(ids)))
            return
        held = tuple(row_id for row_id in ids if row_id in self._held)
        hot = tuple(row_id for row_id in ids if row_id not in self._held)
        for row in rows:
            if row.id in self._held:
                self._stalls.confirmed(row.stall, now)
        if hot:
            self._settling.add(Delete(hot))
        if held:
            self._settling.add(Delete(held, held=True))

    def failed(self, failure: Failure, now: float, random: float) -> None:
        """The broker returned or refused this one."""
        row, held = failure.row, failure.row.id in self._held
        self._counters.failed += 1
        self._flight.finished([row.id])
        known = self._stalls.get(row.stall)
        if failure.hopeless:
            self._bury(failure, held, (known.attempts if known else 0) + 1)
            return
        if known is not None and not held:  # it was on its way when its key began to stall
            self.hold([row.id])
            return
        stall, give_up = self._stalls.failed(row.stall, row.lane, now, random)
        delay = max(0.0, stall.next_at - now)
        _LOGGER.warning(
            "%s stalls: message %s to %s was %s (%s); %s",
            row.stall,
            row.message_id,
            row.routing_key,
            failure.reason,
            failure.error,
            "it is given up, and lies in the dead table" if give_up else f"next attempt in {delay:.1f} s",
        )
        self._settling.add(SetStall(row.stall, row.lane, stall.attempts, delay, failure.reason, failure.error))
        unsent = self._flight.take_out(row.stall)
        if give_up:
            self._bury(failure, held, stall.attempts)
        elif held:
            self._back([row.id], stall)
        else:
            self.hold([row.id])
        if held:
            self._back(unsent, stall)
        else:
            self.hold(unsent)

    def hold(self, ids: Sequence[int]) -> None:
        """Move these out of the hot table's way."""
        if ids:
            self._settling.add(Hold(tuple(ids)))

    def read_due(self, claim: HeldRows, limit: int, now: float) -> bool:
        """Read the held rows of the keys that are due: one, or many once one was confirmed. True if there were some."""
        found = False
        for stall in self._stalls.due(now)[:_MOST_AT_ONCE]:
            room = min(limit, self._flight.room)
            if not room:
                break
            rows = claim.fetch_held(stall.name, room if stall.flows else 1)
            new = [row for row in rows if row.id not in self._flight]
            if not rows:
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
                case Hold(ids):
                    names = {row.stall: row.lane for row in map(self._flight.get, ids) if row is not None}
                    self._flight.removed(ids)
                    self._stalls.learn(
                        ((name, lane, 0, 0.0) for name, lane in names.items() if not self._stalls.get(name)), now
                    )
                case Bury(row_id, held):
                    self._counters.buried += 1
                    self._removed((row_id,), held=held)
                case Unstall(name):
                    self._unstalled(name, done, now)

    def forget(self) -> None:
        """The lanes are lost, and the stalls forgotten."""
        self._held = {row_id for row_id in self._held if row_id in self._flight}

    def _unstalled(self, name: str, done: bool, now: float) -> None:
        stall = self._stalls.get(name)
        if stall is None:
            return
        if done:
            self._stalls.over(name)
        else:
            stall.busy, stall.next_at = 0, now

    def _bury(self, failure: Failure, held: bool, attempts: int) -> None:
        self._settling.add(Bury(failure.row.id, held, attempts, failure.reason, failure.error))

    def _back(self, ids: Sequence[int], stall: Stall) -> None:
        """They stay in the held table, and are read again when the key is due."""
        self._flight.removed(ids)
        self._held.difference_update(ids)
        stall.busy = max(0, stall.busy - len(ids))

    def _removed(self, ids: Sequence[int], *, held: bool) -> None:
        if held:
            self._held.difference_update(ids)
            for row in map(self._flight.get, ids):
                stall = None if row is None else self._stalls.get(row.stall)
                if stall is not None:
                    stall.busy = max(0, stall.busy - 1)
        self._flight.removed(ids)
