"""What one relay has in hand: rows taken from the table, on their way, and finished but not deleted yet. Pure.

Law: a row leaves the table only after the broker confirmed it, and is in hand until the statement that removed it has
run; until then a row that is read again is recognised and not sent twice. Rows that have to be sent again are sent before
anything else, in the order of their ids, when the outcome of everything that is on its way is known.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Flight", "RowLike"]


class RowLike(Protocol):
    """What the flight looks at. ``stall`` is what stalls when the row fails: its key, or the row alone.

    ``size`` is what it takes of the memory, in bytes.
    """

    @property
    def id(self) -> int: ...
    @property
    def key(self) -> str | None: ...
    @property
    def stall(self) -> str: ...
    @property
    def size(self) -> int: ...


R = TypeVar("R", bound=RowLike)


class Flight(Generic[R]):
    """``capacity`` rows at most are in hand. ``key_window`` rows of one key at most are on their way; None: any number.

    Rows are to be taken while there are fewer than ``max_bytes`` of them: one that is larger must have its turn too.
    Not thread-safe: one relay's thread owns it.
    """

    def __init__(self, capacity: int, key_window: int | None = None, max_bytes: int = 2**63 - 1) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._key_window = key_window
        self._rows: dict[int, R] = {}
        self._ready: deque[R] = deque()
        self._again: list[R] = []
        self._sent: set[int] = set()
        self._of_key: Counter[str] = Counter()
        self._gated: dict[str, deque[R]] = {}  # rows whose key has as many on their way as it may
        self._let_in: deque[R] = deque()  # rows that were gated, and count as on their way already

    def __len__(self) -> int:
        """Rows in hand."""
        return len(self._rows)

    def __contains__(self, row_id: int) -> bool:
        return row_id in self._rows

    def get(self, row_id: int) -> R | None:
        """The row in hand with that id."""
        return self._rows.get(row_id)

    @property
    def room(self) -> int:
        """How many rows more may be taken."""
        return max(0, self._capacity - len(self._rows))

    @property
    def bytes(self) -> int:
        """The sizes of the rows in hand."""
        return self._bytes

    @property
    def room_bytes(self) -> int:
        """How many bytes of rows more may be taken; the last row may exceed it."""
        return max(0, self._max_bytes - self._bytes)

    def is_worth_reading(self, batch: int) -> bool:
        """Room for half a batch at least, and for an eighth of the bytes, while there is enough to do.

        A statement for each few rows that leave would cost more.
        """
        room, room_bytes = self.room, self.room_bytes
        enough = room >= min(batch // 2, room + len(self._sent)) and room_bytes >= self._max_bytes // 8
        return room > 0 and room_bytes > 0 and enough

    @property
    def ids(self) -> Collection[int]:
        """The ids of the rows in hand."""
        return self._rows.keys()

    @property
    def on_their_way(self) -> int:
        """Rows that were sent and have no outcome."""
        return len(self._sent)

    @property
    def waiting(self) -> int:
        """Rows that wait to be sent."""
        return sum(map(len, self._waiting()))

    def unknown(self, ids: Iterable[int]) -> list[int]:
        """Those that are not in hand."""
        return [row_id for row_id in ids if row_id not in self._rows]

    def take(self, rows: Iterable[R], stalled: Collection[str] = ()) -> list[int]:
        """Take rows in hand; those that are already are passed over. Returns the ids of those whose key stalls.

        They are in hand too, but never sent: they are to be moved out of the way.
        """
        to_hold: list[int] = []
        for row in rows:
            if row.id in self._rows:
                continue
            self._rows[row.id] = row
            self._bytes += row.size
            if stalled and row.stall in stalled:
                to_hold.append(row.id)
            else:
                self._ready.append(row)
        return to_hold

    def next_to_send(self, limit: int) -> list[R]:
        """Up to ``limit`` rows to send now; they count as sent. None while something has to be sent again first."""
        if self._again:
            if self._sent:
                return []
            first = self._ready if self._key_window is None else self._let_in  # which have kept their places
            first.extendleft(sorted(self._again, key=lambda row: row.id, reverse=True))
            self._again.clear()
        if self._key_window is None:
            rows = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        else:
            rows = self._through_the_window(limit, self._key_window)
        self._sent.update(row.id for row in rows)
        return rows

    def finished(self, ids: Sequence[int]) -> None:
        """The broker confirmed these, or they are given up: they stay in hand until :meth:`removed`."""
        self._sent.difference_update(ids)
        if self._key_window is not None:
            self._let_through(ids)

    def send_again(self, ids: Iterable[int]) -> None:
        """These have no outcome, or were never written: they go first, with the same message id."""
        ids = list(ids)
        self._sent.difference_update(ids)
        self._again.extend(self._rows[row_id] for row_id in ids)

    def take_out(self, stall: str) -> list[int]:
        """The ids of all rows of a key that were not sent; they stay in hand, and are not sent any more."""
        out: list[int] = []
        if self._key_window is not None:
            self._give_places_back(row for row in (*self._let_in, *self._again) if row.stall == stall)
        for waiting in self._waiting():
            kept = [row for row in waiting if row.stall != stall]
            if len(kept) < len(waiting):
                out += (row.id for row in waiting if row.stall == stall)
                waiting.clear()
                waiting.extend(kept)
        for key in [key for key, gated in self._gated.items() if not gated]:
            del self._gated[key]
        return sorted(out)

    def removed(self, ids: Iterable[int]) -> None:
        """The statement has run: they are not in the table any more, and not in hand."""
        for row_id in ids:
            row = self._rows.pop(row_id, None)
            if row is not None:
                self._bytes -= row.size

    def drop_unsent(self) -> None:
        """The lanes are lost: what was not sent is somebody else's now."""
        if self._key_window is not None:
            self._give_places_back((*self._let_in, *self._again))
        for waiting in self._waiting():
            self.removed(row.id for row in waiting)
            waiting.clear()
        self._gated.clear()

    def _waiting(self) -> Iterable[deque[R] | list[R]]:
        return (self._let_in, self._ready, self._again, *self._gated.values())

    def _through_the_window(self, limit: int, window: int) -> list[R]:
        rows = [self._let_in.popleft() for _ in range(min(limit, len(self._let_in)))]
        while self._ready and len(rows) < limit:
            row = self._ready.popleft()
            if row.key is not None:
                if self._gated.get(row.key) or self._of_key[row.key] >= window:
                    self._gated.setdefault(row.key, deque()).append(row)
                    continue
                self._of_key[row.key] += 1
            rows.append(row)
        return rows

    def _let_through(self, ids: Iterable[int]) -> None:
        """Each row that is not on its way any more lets the next one of its key in."""
        for row_id in ids:
            key = self._rows[row_id].key
            if key is None:
                continue
            gated = self._gated.get(key)
            if gated:
                self._let_in.append(gated.popleft())  # in the place of the one that left
                continue
            self._gated.pop(key, None)
            self._give_places_back((self._rows[row_id],))

    def _give_places_back(self, rows: Iterable[R]) -> None:
        for row in rows:
            if row.key is not None:
                self._of_key[row.key] -= 1
                if self._of_key[row.key] <= 0:
                    del self._of_key[row.key]
