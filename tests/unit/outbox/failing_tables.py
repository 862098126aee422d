"""The tables of a relay as a model, and a settling thread that works when it is told to."""

from __future__ import annotations

from collections import deque

from rmqpool.core.backoff import Backoff
from rmqpool.outbox.relay_work import Bury, Delete, Hold, SetStall, SetStalls, Unstall, Work, merge
from rmqpool.outbox.rows import Row

LANE = 7
BACKOFF = Backoff(1.0, 8.0)


def make_row(row_id: int, key: str | None) -> Row:
    return Row(row_id, LANE, key, "", "orders", str(row_id), None, None, b"{}")


class Tables:
    """The four tables, and what each statement does to them."""

    def __init__(self) -> None:
        self.owned = {LANE}
        self.now = 0.0
        self.hot: dict[int, Row] = {}
        self.held: dict[int, Row] = {}
        self.stalled: dict[str, tuple[int, float]] = {}  # attempts, next_at
        self.dead: dict[int, int] = {}
        self.deleted: set[int] = set()

    def fetch_held(self, stall: str, limit: int, max_bytes: int = 1) -> list[Row]:
        return [row for _, row in sorted(self.held.items()) if row.stall == stall][:limit]

    def known_stalls(self) -> list[tuple[str, int, int, float]]:
        return [(name, LANE, attempts, max(0.0, at - self.now)) for name, (attempts, at) in self.stalled.items()]

    def do(self, work: Work) -> bool:
        match work:
            case Delete(ids, held):
                for row_id in ids:
                    if (self.held if held else self.hot).pop(row_id, None):
                        self.deleted.add(row_id)
            case Hold(ids):
                for row in [self.hot.pop(row_id) for row_id in ids if row_id in self.hot]:
                    self.stalled.setdefault(row.stall, (0, self.now))
                    self.held[row.id] = row
            case SetStall(stall, _, attempts, delay):
                self.stalled[stall] = (attempts, self.now + delay)
            case SetStalls(stalls):
                for one in stalls:
                    self.do(one)
            case Bury(row_id, held, attempts):
                if (self.held if held else self.hot).pop(row_id, None):
                    self.dead[row_id] = attempts
            case Unstall(stall):
                if self.fetch_held(stall, 1):
                    return False
                return self.stalled.pop(stall, None) is not None
        return True


class LateSettler:
    """Runs work in order, when it is told to; a piece may run twice, as after a commit whose answer was lost."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.work: deque[Work] = deque()
        self.done: list[tuple[Work, bool]] = []

    def add(self, *work: Work) -> None:
        assert all(getattr(item, "ids", True) for item in work), "work without a row"
        self.work.extend(work)

    def collect(self) -> list[tuple[Work, bool]]:
        done, self.done = self.done, []
        return done

    def run(self, count: int, twice: bool = False) -> None:
        for item in merge([self.work.popleft() for _ in range(min(count, len(self.work)))]):
            if twice:
                self.tables.do(item)
            self.done.append((item, self.tables.do(item)))
