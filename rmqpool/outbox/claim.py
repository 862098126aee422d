"""The lane connection: one long transaction that holds lanes, and everything that is read under it.

While it idles it holds neither a transaction id nor a snapshot, so vacuum goes on however long the broker is away. The
server ends it when it has been idle for LEASE seconds, and the lanes are somebody else's then: so nothing is sent that
was read longer ago than that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from rmqpool.core.floors import Floors
from rmqpool.core.lanes import LANES
from rmqpool.core.watermark import Watermark
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.outbox.rows import Row

__all__ = ["LEASE", "Claim"]

LEASE: Final = 5.0  # seconds: idle_in_transaction_session_timeout
_MARGIN: Final = 1.0  # seconds: a send that began before the lease's end is over by then
_LAG: Final = 0.1  # seconds: transactions of usual length commit within it, and need no sweep to be found
_ALL: Final = -1  # the part of the table that is read when every lane is owned
_FEWEST_OF_A_LANE: Final = 32


class Claim:
    """Owned lanes, and the rows in them. Belongs to the relay's thread.

    Every method raises psycopg.Error when the connection is gone; the claim is of no use then: close it.
    """

    def __init__(self, connection: RelayConnection, statements: RelayStatements, *, strict: bool) -> None:
        self.connection = connection
        self.owned: set[int] = set()
        self._statements = statements
        self._floors: Floors[int] = Floors(_LAG)
        self._strict = strict
        self._watermark = Watermark()
        self._leads = False
        self._of_a_lane = _FEWEST_OF_A_LANE
        self._renewed = time.monotonic()
        self._begin()

    @property
    def lease_end(self) -> float:
        """Until when (monotonic) what was read may be sent: the server may free the lanes a moment later."""
        return self._renewed + LEASE - _MARGIN

    @property
    def owns_all(self) -> bool:
        """Every lane is owned."""
        return len(self.owned) == LANES

    def count_relays(self) -> int:
        """How many relays are alive, this one included."""
        return max(1, int(self._value(self._statements.count_alive)))

    def take_lanes(self, at_most: int) -> set[int]:
        """Try to own more lanes, ``at_most`` in all; returns the new ones. Strict order needs all of them, or none."""
        if self._strict:
            at_most = LANES
            if not self._leads:
                self._leads = bool(self._value(self._statements.lead))
            if not self._leads:
                return set()
        free = [lane for lane in range(LANES) if lane not in self.owned]
        wanted = random.sample(free, min(len(free), max(0, at_most - len(self.owned))))
        if not wanted:
            return set()
        new = {lane for (lane,) in self._rows(self._statements.lock_lanes, [wanted])}
        self.owned |= new
        if new:
            self._floors.reset()  # from the start: what lies there was read by somebody else
        return new

    def begin_anew(self, keep: Collection[int]) -> set[int]:
        """Give up all lanes but ``keep``: the transaction ends, and those are taken again. Returns the owned ones.

        Only with nothing in hand: the next owner of a lane reads all rows that are there.
        """
        self.connection.raw.commit()
        self.owned, self._leads = set(), False
        self._floors.reset()
        self._watermark = Watermark()
        self._begin()
        if keep and not self._strict:
            self.owned = {lane for (lane,) in self._rows(self._statements.lock_lanes, [sorted(keep)])}
        return self.owned

    def fetch(self, limit: int, in_hand: int) -> list[Row]:
        """The next rows, in the order of their ids within each lane; the claim query.

        Some of them may be ``in_hand`` already: reading begins a moment below the floor while few rows are.
        """
        if not self.owned:
            return []
        now = time.monotonic()
        self._floors.tick(now)
        if self._strict:
            return self._fetch_strict(limit)
        if in_hand > limit:
            floor_of = self._floors.highest  # a backlog: what commits late is found by the sweep
        else:
            limit += in_hand
            floor_of = lambda part: self._floors.trailing(part, now)  # noqa: E731
        if self.owns_all:
            rows = self._read(self._statements.fetch_all, [floor_of(_ALL), limit])
            if rows:
                self._floors.advance(_ALL, rows[-1].id)
            return rows
        return self._fetch_lanes(limit, [(lane, floor_of(lane)) for lane in sorted(self.owned)])

    def sweep(self, limit: int) -> list[int]:
        """The ids of the first rows below the floors: those in hand, and those that committed late."""
        if not self.owned or self._strict:
            return []
        if self.owns_all:
            ids = self._rows(self._statements.sweep_all, [self._floors.highest(_ALL), limit])
        else:
            lanes = sorted(self.owned)
            floors = [self._floors.highest(lane) for lane in lanes]
            ids = self._rows(self._statements.sweep_lanes, [lanes, floors, limit])
        return [row_id for (row_id,) in ids]

    def fetch_ids(self, ids: Sequence[int]) -> list[Row]:
        """These rows, in the order of their ids; without those that are gone."""
        return self._read(self._statements.fetch_ids, [list(ids)]) if ids else []

    def stalls(self, lanes: Iterable[int]) -> list[tuple[str, int, int, float]]:
        """What stalls in these lanes: name, lane, attempts, seconds until the next one."""
        return self._rows(self._statements.stalls_of_lanes, [sorted(lanes)])

    def fetch_held(self, stall: str, limit: int) -> list[Row]:
        """The first held rows of a stalled key."""
        return self._read(self._statements.fetch_held, [stall, limit])

    def renew(self) -> None:
        """Say that this relay is alive, if nothing else was said lately."""
        if time.monotonic() - self._renewed > LEASE / 5:
            self._value(b"SELECT 1")

    def close(self) -> None:
        """Free the lanes."""
        self.owned.clear()
        self.connection.close()

    def _begin(self) -> None:
        execute = self.connection.execute
        execute(b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # Repeatable Read would keep its first snapshot
        execute(f"SET LOCAL idle_in_transaction_session_timeout = '{LEASE:g}s'".encode())
        execute(b"SET LOCAL statement_timeout = '60s'")
        execute(b"SET LOCAL lock_timeout = '5s'")
        self._rows(self._statements.announce)

    def _fetch_strict(self, limit: int) -> list[Row]:
        """In one order for all rows: only up to an id below which nobody writes any more."""
        if not self.owns_all:
            return []
        if self._watermark.needs_mark:
            # First the sequence, then who writes: whoever was given an id up to that one holds the lock by now.
            self._watermark.mark(self._value(self._statements.sequence), self._writers())
        elif not self._watermark.is_clear:
            self._watermark.still_there(self._writers())
        if not self._watermark.is_clear:
            return []
        floor = self._floors.highest(_ALL)
        rows = self._read(self._statements.fetch_up_to, [floor, self._watermark.upper, limit])
        if rows:
            self._floors.advance(_ALL, rows[-1].id)
        if len(rows) < limit:
            self._watermark.used_up()
        return rows

    def _writers(self) -> set[str]:
        return {writer for (writer,) in self._rows(self._statements.writers)}

    def _fetch_lanes(self, limit: int, floors: list[tuple[int, int]]) -> list[Row]:
        of_a_lane = max(_FEWEST_OF_A_LANE, limit // len(floors), self._of_a_lane)
        lanes, starts = (list(column) for column in zip(*floors, strict=True))
        rows = self._read(self._statements.fetch_lanes, [lanes, starts, of_a_lane])
        counts = dict.fromkeys(lanes, 0)
        for row in rows:
            counts[row.lane] += 1
            self._floors.advance(row.lane, row.id)
        # All in few lanes: more of each next time.
        crowded = max(counts.values()) >= of_a_lane and len(rows) < limit
        self._of_a_lane = min(limit, of_a_lane * 2) if crowded else _FEWEST_OF_A_LANE
        return rows

    def _read(self, sql: bytes, parameters: Sequence[Any]) -> list[Row]:
        return [Row._make(row) for row in self._rows(sql, parameters)]

    def _rows(self, sql: bytes, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        started = time.monotonic()
        rows = self.connection.rows(sql, parameters)
        self._renewed = started  # the server's clock began not before this
        return rows

    def _value(self, sql: bytes) -> Any:
        return self._rows(sql)[0][0]
