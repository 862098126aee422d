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
from rmqpool.errors import OutboxSchemaError
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.outbox.rows import Row
from rmqpool.write_lease import Lease

__all__ = ["LEASE", "Claim"]

LEASE: Final = 5.0  # seconds: idle_in_transaction_session_timeout
_MARGIN: Final = 1.0  # seconds: a send that began before the lease's end is over by then
_MARK_EVERY: Final = 0.1  # seconds
_BODY: Final = Row._fields.index("body")
_ALL: Final = -1  # the part of the table that is read when every lane is owned


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
        self.is_kept_out = False  # strict order, and somebody else owns lanes
        self._of_a_lane = 1
        self.lease = Lease(0.0)  # until when what was read may be sent: the server may free the lanes a moment later
        self._renew(time.monotonic())
        self._begin()
        self._sequence = self._find_sequence()

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
        if self._strict and not self.owns_all:
            self.is_kept_out = True
            self.begin_anew(())  # all of them, or none: who has the others must not wait for these
            return set()
        self.is_kept_out = False
        if new:
            self._watermark = Watermark()
            self._reach.reset()  # from the start: what lies there was read by somebody else
        return new

    def begin_anew(self, keep: Collection[int]) -> set[int]:
        """Give up all lanes but ``keep``: the transaction ends, and those are taken again. Returns the owned ones.

        Only with nothing in hand: the next owner of a lane reads all rows that are there.
        """
        self._end_transaction()
        self._begin()
        if keep and not self._strict:
            self.owned = {lane for (lane,) in self._keep(self._statements.lock_lanes, [sorted(keep), len(keep)])}
        return self.owned

    def stand_by(self) -> None:
        """Give up all lanes, and do not count as a relay, until :meth:`begin_anew`. Only with nothing in hand."""
        self._end_transaction()
        self._begin(announce=False)

    def _end_transaction(self) -> None:
        self.connection.raw.commit()
        self.owned, self._leads = set(), False
        self._reach.reset()
        self._watermark = Watermark()

    def fetch(self, limit: int, max_bytes: int, in_hand: Iterable[int], *, settles: bool = True) -> list[Row]:
        """The next rows, in the order of their ids within each lane; the claim query.

        No row more once there are ``max_bytes`` of bodies: one row at least, if there is any and ``max_bytes`` is not 0.
        ``in_hand`` are the ids of rows that are not to be read again, although they are still there. Not ``settles``: some
        of those may be other rows with the same ids, so low stays where it is, and they are found once the ids are free.
        """
        if not self.owned:
            return []
        if self._strict:
            return self._fetch_strict(limit, max_bytes)
        upper = self._settled_upper()
        low = self._reach.low
        parts = {"low": low, "in_hand": [row_id for row_id in in_hand if row_id > low], "bytes": max_bytes}
        rows, complete = self._fetch_all(limit, parts) if self.owns_all else self._fetch_lanes(limit, parts)
        if upper is not None and complete and settles:
            self._reach.settle(upper, (_ALL,) if self.owns_all else self.owned)
            self._watermark.used_up()
        return rows

    def sweep(self, limit: int) -> list[int]:
        """The first ids in each lane below what is read: those in hand, and what nobody can have put there.

        Unless it was put there by hand, or with a sequence that gives ids out in advance: a floor is never trusted.
        """
        if not self.owned:
            return []
        low = self._reach.floor(_ALL) if self._strict else self._reach.low
        parameters = {"lanes": sorted(self.owned), "low": low, "limit": limit}
        return [row_id for (row_id,) in self._rows(self._statements.sweep, parameters)]

    def fetch_ids(self, ids: Sequence[int], max_bytes: int) -> list[Row]:
        """These rows, in the order of their ids, up to ``max_bytes``; without those that are gone."""
        return self._read(self._statements.fetch_ids, {"ids": list(ids), "bytes": max_bytes})[0] if ids else []

    def stalls(self, lanes: Iterable[int]) -> list[tuple[str, int, int, float]]:
        """What stalls in these lanes: name, lane, attempts, seconds until the next one."""
        return self._rows(self._statements.stalls_of_lanes, [sorted(lanes)])

    def held_stalls(self, after: str, limit: int) -> list[tuple[str, int, bool]]:
        """The next stalls of any lane that have held rows: name, lane, and whether the stalled table knows it."""
        return self._rows(self._statements.held_stalls, {"after": after, "limit": limit})

    def fetch_held(self, stall: str, limit: int, max_bytes: int) -> list[Row]:
        """The first held rows of a stalled key, up to ``max_bytes``."""
        return self._read(self._statements.fetch_held, {"stall": stall, "limit": limit, "bytes": max_bytes})[0]

    def renew(self) -> None:
        """Say that this relay is alive, if nothing else was said lately."""
        if time.monotonic() - self._renewed > LEASE / 5:
            self._value(b"SELECT 1")

    def begin_lease(self) -> None:
        """A new lease, if the one before broke: the outcome of all that was sent with that is known."""
        if self.lease.is_broken:
            self.lease = Lease(self._renewed + LEASE - _MARGIN)

    def close(self) -> None:
        """Free the lanes."""
        self.owned.clear()
        self.connection.close()

    def _begin(self, *, announce: bool = True) -> None:
        execute = self.connection.execute
        execute(b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # Repeatable Read would keep its first snapshot
        execute(f"SET LOCAL idle_in_transaction_session_timeout = '{LEASE:g}s'".encode())
        execute(b"SET LOCAL statement_timeout = '60s'")
        execute(b"SET LOCAL lock_timeout = '5s'")
        self.stands_by = not announce
        if announce:
            self._keep(self._statements.announce)

    def _find_sequence(self) -> bytes:
        """The statement that tells the last id that was given out. Raises OutboxSchemaError."""
        name, allowed = self._keep(self._statements.sequence)[0]
        if not allowed:
            raise OutboxSchemaError(
                f"the relay's role may not read the sequence {name}: GRANT SELECT ON SEQUENCE {name}, as the documentation lists"
            )
        return f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}".encode()

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
            self._watermark.mark(self._rows(self._sequence)[0][0], self._writers())
        else:
            self._watermark.still_there(self._writers())

    def _fetch_strict(self, limit: int, max_bytes: int) -> list[Row]:
        """In one order for all rows: only up to an id below which nobody writes any more."""
        if not self.owns_all:
            return []
        if not self._watermark.is_clear:
            self._look_for_writers()
        if not self._watermark.is_clear:
            return []
        parts = {"floor": self._reach.floor(_ALL), "upper": self._watermark.upper, "limit": limit, "bytes": max_bytes}
        rows, more = self._read(self._statements.fetch_up_to, parts)
        if rows:
            self._reach.was_read(_ALL, rows[-1].id, to_the_end=False)
        if len(rows) < limit and not more:
            self._watermark.used_up()
        return rows

    def _fetch_all(self, limit: int, parts: dict[str, Any]) -> tuple[list[Row], bool]:
        """The rows, and whether everything below the floor is in hand now."""
        floor = self._reach.floor(_ALL)
        found, beyond = _within_bytes(self._rows(self._statements.fetch_all, {**parts, "floor": floor, "limit": limit}))
        late = [Row._make(row[:-1]) for row in found if row[-1]]
        if len(late) == limit or (beyond and beyond[-1]):
            return late, False  # there may be more of them, and what is new has to wait for those
        rows = [Row._make(row[:-1]) for row in found if not row[-1]] if late else [Row._make(row[:-1]) for row in found]
        self._reach.was_read(_ALL, rows[-1].id if rows else floor, to_the_end=len(rows) < limit and not beyond)
        return late + rows, True

    def _fetch_lanes(self, limit: int, parts: dict[str, Any]) -> tuple[list[Row], bool]:
        lanes = random.sample(sorted(self.owned), len(self.owned))  # the limit may end in any of them
        of_a_lane = max(1, limit // len(lanes), self._of_a_lane)
        floors = {lane: self._reach.floor(lane) for lane in lanes}
        parameters = {**parts, "lanes": lanes, "floors": list(floors.values()), "limit": of_a_lane, "most": 2 * limit}
        found, beyond = _within_bytes(self._rows(self._statements.fetch_lanes, parameters))
        late: dict[int, list[Row]] = {lane: [] for lane in lanes}
        new: dict[int, list[Row]] = {lane: [] for lane in lanes}
        for row in found:
            (late if row[-1] else new)[row[1]].append(Row._make(row[:-1]))
        # From there on rows may be missing.
        last = beyond or (found[-1] if len(found) == 2 * limit else None)
        cut = len(lanes) if last is None else lanes.index(last[1])
        rows: list[Row] = []
        complete = cut == len(lanes)
        for number, lane in enumerate(lanes[: cut + 1]):
            room = limit - len(rows)
            rows += late[lane][:room]
            if len(late[lane]) >= min(room, of_a_lane) or (number == cut and not new[lane]):
                complete = False  # there may be more that appeared late, and what is new has to wait for it
                continue
            taken = new[lane][: room - len(late[lane])]
            rows += taken
            to_the_end = number != cut and len(taken) == len(new[lane]) < of_a_lane
            self._reach.was_read(lane, taken[-1].id if taken else floors[lane], to_the_end=to_the_end)
        # All in few lanes: more of each next time.
        crowded = max(map(len, new.values())) >= of_a_lane and len(rows) < limit
        self._of_a_lane = min(limit, of_a_lane * 2) if crowded else 1
        return rows, complete

    def _writers(self) -> set[str]:
        return {writer for (writer,) in self._keep(self._statements.writers)}

    def _read(self, sql: bytes, parameters: Mapping[str, Any]) -> tuple[list[Row], bool]:
        """The rows, and whether there were more than the bytes allow."""
        found, beyond = _within_bytes(self._rows(sql, parameters))
        return [Row._make(row) for row in found], beyond is not None

    def _keep(self, sql: bytes, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Take locks, and keep them; also for what reads system catalogs only, which keeps nobody waiting."""
        started = time.monotonic()
        rows = self.connection.rows(sql, parameters)
        self._renew(started)
        return rows

    def _rows(self, sql: bytes, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        started = time.monotonic()
        rows = self.connection.peek(sql, parameters)
        self._renew(started)
        return rows

    def _renew(self, started: float) -> None:
        """A statement that began then has run: the server's clock began not before it."""
        self._renewed = started
        if not self.lease.is_broken:
            self.lease.end = started + LEASE - _MARGIN

    def _value(self, sql: bytes) -> Any:
        return self._keep(sql)[0][0]


def _within_bytes(found: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]:
    """The rows that came with their bodies, and the first that did not."""
    if not found or found[-1][_BODY] is not None:
        return found, None
    count = next(number for number, row in enumerate(found) if row[_BODY] is None)
    return found[:count], found[count]
