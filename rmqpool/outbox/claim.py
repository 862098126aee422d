"""The lane connection: one long transaction that holds lanes, and everything that is read under it.

While it idles it holds neither a transaction id nor a snapshot, so vacuum goes on however long the broker is away. The
server ends it when it has been idle for LEASE seconds, and the lanes are somebody else's then: so nothing is sent that
was read longer ago than that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from rmqpool.core.lanes import LANES
from rmqpool.core.reach import Reach
from rmqpool.core.watermark import Watermark
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.outbox.rows import Row

__all__ = ["LEASE", "Claim"]

LEASE: Final = 5.0  # seconds: idle_in_transaction_session_timeout
_MARGIN: Final = 1.0  # seconds: a send that began before the lease's end is over by then
_MARK_EVERY: Final = 0.1  # seconds
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
        self._reach: Reach[int] = Reach()
        self._next_mark = 0.0
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
                self._leads = bool(self._keep(self._statements.lead)[0][0])
            if not self._leads:
                return set()
        others = [lane for lane in range(LANES) if lane not in self.owned]
        wanted = min(len(others), at_most - len(self.owned))
        if wanted <= 0:
            return set()
        random.shuffle(others)  # relays that look at once do not all try the same ones
        new = {lane for (lane,) in self._keep(self._statements.lock_lanes, [others, wanted])}
        self.owned |= new
        if new:
            self._watermark = Watermark()
            self._reach.reset()  # from the start: what lies there was read by somebody else
        return new

    def begin_anew(self, keep: Collection[int]) -> set[int]:
        """Give up all lanes but ``keep``: the transaction ends, and those are taken again. Returns the owned ones.

        Only with nothing in hand: the next owner of a lane reads all rows that are there.
        """
        self.connection.raw.commit()
        self.owned, self._leads = set(), False
        self._reach.reset()
        self._watermark = Watermark()
        self._begin()
        if keep and not self._strict:
            self.owned = {lane for (lane,) in self._keep(self._statements.lock_lanes, [sorted(keep), len(keep)])}
        return self.owned

    def fetch(self, limit: int, in_hand: Iterable[int]) -> list[Row]:
        """The next rows, in the order of their ids within each lane; the claim query.

        ``in_hand`` are the ids of rows that are not to be read again, although they are still there.
        """
        if not self.owned:
            return []
        if self._strict:
            return self._fetch_strict(limit)
        upper = self._settled_upper()
        parts = {"low": self._reach.low, "in_hand": [row_id for row_id in in_hand if row_id > self._reach.low]}
        rows, complete = self._fetch_all(limit, parts) if self.owns_all else self._fetch_lanes(limit, parts)
        if upper is not None and complete:
            self._reach.settle(upper, (_ALL,) if self.owns_all else self.owned)
            self._watermark.used_up()
        return rows

    def sweep(self, limit: int) -> list[int]:
        """The first ids in each lane below what is read: those in hand, and what nobody can have put there.

        Unless it was put there by hand, or with a sequence that gives ids out in advance: a floor is never trusted.
        """
        if not self.owned or self._strict:
            return []
        parameters = {"lanes": sorted(self.owned), "low": self._reach.low, "limit": limit}
        return [row_id for (row_id,) in self._rows(self._statements.sweep, parameters)]

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
        self._keep(self._statements.announce)

    def _settled_upper(self) -> int | None:
        """An id up to which nobody can add a row any more, for a reading that begins now; None: not known yet.

        Found out in steps, ten times a second at most.
        """
        now = time.monotonic()
        if not self._watermark.is_clear and now >= self._next_mark:
            self._next_mark = now + _MARK_EVERY
            self._look_for_writers()
        return self._watermark.upper if self._watermark.is_clear else None

    def _look_for_writers(self) -> None:
        if self._watermark.needs_mark:
            # First the sequence, then who writes: whoever was given an id up to that one holds the lock by now.
            self._watermark.mark(self._value(self._statements.sequence), self._writers())
        else:
            self._watermark.still_there(self._writers())

    def _fetch_strict(self, limit: int) -> list[Row]:
        """In one order for all rows: only up to an id below which nobody writes any more."""
        if not self.owns_all:
            return []
        if not self._watermark.is_clear:
            self._look_for_writers()
        if not self._watermark.is_clear:
            return []
        parameters = [self._reach.floor(_ALL), self._watermark.upper, limit]
        rows = [Row._make(row) for row in self._rows(self._statements.fetch_up_to, parameters)]
        if rows:
            self._reach.was_read(_ALL, rows[-1].id, to_the_end=False)
        if len(rows) < limit:
            self._watermark.used_up()
        return rows

    def _fetch_all(self, limit: int, parts: dict[str, Any]) -> tuple[list[Row], bool]:
        """The rows, and whether everything below the floor is in hand now."""
        floor = self._reach.floor(_ALL)
        found = self._rows(self._statements.fetch_all, {**parts, "floor": floor, "limit": limit})
        late = [Row._make(row[:-1]) for row in found if row[-1]]
        if len(late) == limit:
            return late, False  # there may be more of them, and what is new has to wait for those
        rows = [Row._make(row[:-1]) for row in found if not row[-1]] if late else [Row._make(row[:-1]) for row in found]
        self._reach.was_read(_ALL, rows[-1].id if rows else floor, to_the_end=len(rows) < limit)
        return late + rows, True

    def _fetch_lanes(self, limit: int, parts: dict[str, Any]) -> tuple[list[Row], bool]:
        lanes = sorted(self.owned)
        of_a_lane = max(_FEWEST_OF_A_LANE, limit // len(lanes), self._of_a_lane)
        floors = [self._reach.floor(lane) for lane in lanes]
        found = self._rows(
            self._statements.fetch_lanes, {**parts, "lanes": lanes, "floors": floors, "limit": of_a_lane}
        )
        late: dict[int, list[Row]] = {lane: [] for lane in lanes}
        new: dict[int, list[Row]] = {lane: [] for lane in lanes}
        for row in found:
            (late if row[-1] else new)[row[1]].append(Row._make(row[:-1]))
        rows: list[Row] = []
        complete = True
        for lane, floor in zip(lanes, floors, strict=True):
            rows += late[lane]
            if len(late[lane]) == of_a_lane:
                complete = False
                continue
            rows += new[lane]
            last = new[lane][-1].id if new[lane] else floor
            self._reach.was_read(lane, last, to_the_end=len(new[lane]) < of_a_lane)
        # All in few lanes: more of each next time.
        crowded = max(map(len, new.values())) >= of_a_lane and len(rows) < limit
        self._of_a_lane = min(limit, of_a_lane * 2) if crowded else _FEWEST_OF_A_LANE
        return rows, complete

    def _writers(self) -> set[str]:
        return {writer for (writer,) in self._keep(self._statements.writers)}

    def _read(self, sql: bytes, parameters: Sequence[Any]) -> list[Row]:
        return [Row._make(row) for row in self._rows(sql, parameters)]

    def _keep(self, sql: bytes, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Take locks, and keep them; also for what reads system catalogs only, which keeps nobody waiting."""
        started = time.monotonic()
        rows = self.connection.rows(sql, parameters)
        self._renewed = started  # the server's clock began not before this
        return rows

    def _rows(self, sql: bytes, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        started = time.monotonic()
        rows = self.connection.peek(sql, parameters)
        self._renewed = started
        return rows

    def _value(self, sql: bytes) -> Any:
        return self._keep(sql)[0][0]
