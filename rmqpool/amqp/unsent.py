"""What waits to be written: new messages, those to be written again, those that rest after a nack.

Other threads only append and withdraw; everything else is the I/O thread's. One lock guards the step from queued to written
or withdrawn, and no callback of a user runs under it.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from rmqpool.future import QUEUED, WRITTEN, PublishFuture

__all__ = ["Batch", "Unsent"]

_BATCH_MESSAGES = 500
_BATCH_BYTES = 256 * 1024
_MANY_GONE = 1000


@dataclass(slots=True)
class Batch:
    """Messages for one write, marked as written; and those that were found to be unfit for it."""

    ready: list[PublishFuture] = field(default_factory=list)
    late: list[PublishFuture] = field(default_factory=list)
    too_large: list[PublishFuture] = field(default_factory=list)
    size: int = 0
    earliest: float = math.inf  # the first deadline of those that are ready

    @property
    def is_full(self) -> bool:
        """Enough for one write."""
        return len(self.ready) >= _BATCH_MESSAGES or self.size >= _BATCH_BYTES

    @property
    def is_alone(self) -> bool:
        """It is one message, suspected of having closed a channel."""
        return bool(self.ready) and self.ready[-1].alone


class Unsent:
    """The queues of one publishing engine."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._incoming: deque[PublishFuture] = deque()  # other threads append here, and only here
        self._backlog: deque[PublishFuture] = deque()
        self._again: deque[PublishFuture] = deque()
        self._resting: set[PublishFuture] = set()
        self._gone = 0  # withdrawn since the last cleaning
        self._seen = 0  # how many at the head of the backlog were given out by unseen()

    def after_fork_in_child(self) -> None:
        """A thread that is not here may have held the lock."""
        self.lock._at_fork_reinit()  # type: ignore[attr-defined]

    def __bool__(self) -> bool:
        """Something could be written now."""
        return bool(self._again or self._backlog or self._incoming)

    def __len__(self) -> int:
        return len(self._again) + len(self._backlog) + len(self._incoming) + len(self._resting)

    def append(self, future: PublishFuture) -> None:
        """A new message; from any thread."""
        self._incoming.append(future)

    def _take_in(self) -> None:
        """What was appended so far joins the backlog, which is the I/O thread's alone."""
        with self.lock:  # users' threads come here too, once the I/O thread has ended
            for _ in range(len(self._incoming)):
                self._backlog.append(self._incoming.popleft())

    def withdraw(self, future: PublishFuture) -> bool:
        """Take a message back if nothing of it was ever written; from any thread. The caller finishes the future."""
        with self.lock:
            if future.state != QUEUED or future.attempts:
                return False
            future.claim_withdrawn()
            self._gone += 1
        return True

    @property
    def wants_cleaning(self) -> bool:
        """So many were withdrawn that their bodies should not wait until it is their turn."""
        return self._gone >= _MANY_GONE

    def everything(self) -> list[PublishFuture]:
        """All that is not written, in the order in which it would be."""
        self._take_in()
        return [*self._again, *self._backlog, *self._resting]

    def write_again(self, futures: Iterable[PublishFuture]) -> None:
        """These were on their way when their channel was lost: they go first, in their order."""
        again = list(futures)
        for future in again:
            future.state = QUEUED
        self._again.extendleft(reversed(again))

    def rest(self, future: PublishFuture) -> None:
        """The broker refused it for now."""
        future.state = QUEUED
        self._resting.add(future)

    def wake(self, future: PublishFuture) -> bool:
        """It has rested long enough; False if its outcome came meanwhile."""
        if future not in self._resting:
            return False
        self._resting.discard(future)
        self._again.append(future)
        return True

    def unseen(self) -> list[PublishFuture]:
        """New messages since the last call that are still here: their deadlines have to be watched."""
        self._take_in()
        if len(self._backlog) <= self._seen:
            return []
        unseen, self._seen = list(itertools.islice(self._backlog, self._seen, None)), len(self._backlog)
        return unseen

    def next_batch(self, written: bool, header_max: int, now: float) -> Batch:
        """What to write next. A suspect goes alone, when nothing else is on its way (``written``)."""
        batch = Batch()
        with self.lock:
            while self._again and not batch.is_full:
                if self._again[0].alone and (batch.ready or written):
                    return batch
                self._fill(batch, self._again, 1, header_max, now)
                if batch.is_alone:
                    return batch
            if self._backlog:
                taken = self._fill(batch, self._backlog, len(self._backlog), header_max, now)
                self._seen = max(0, self._seen - taken)
            self._fill(batch, self._incoming, len(self._incoming), header_max, now)
        return batch

    @staticmethod
    def _fill(batch: Batch, queue: deque[PublishFuture], most: int, header_max: int, now: float) -> int:
        """Move messages from a queue into the batch; returns how many left the queue. One loop: it is the hot one."""
        ready, size, earliest, take = batch.ready, batch.size, batch.earliest, queue.popleft
        room, taken = _BATCH_MESSAGES - len(ready), 0
        while taken < most and room > 0 and size < _BATCH_BYTES:
            future = take()
            taken += 1
            if future.state != QUEUED:
                continue  # withdrawn, or its deadline passed
            lease = future.lease
            if (future.deadline if lease is None else lease.end) <= now:
                batch.late.append(future)
            elif len(future.header) > header_max:
                batch.too_large.append(future)
            else:
                future.state = WRITTEN
                future.attempts += 1
                if lease is not None:
                    future.deadline = now + future.patience
                ready.append(future)
                room -= 1
                size += future.size
                if future.deadline < earliest:
                    earliest = future.deadline
        batch.size, batch.earliest = size, earliest
        return taken

    def leased(self) -> list[PublishFuture]:
        """Those with a lease, none of which was written."""
        return [future for future in self.everything() if future.lease is not None and not future.attempts]

    def drop_done(self) -> None:
        """Forget what has its outcome already, so that bodies do not pile up while nothing can be written."""
        self._again = deque(future for future in self._again if not future.done())
        self._resting = {future for future in self._resting if not future.done()}
        self._take_in()
        backlog = list(self._backlog)
        self._seen = sum(1 for future in backlog[: self._seen] if not future.done())
        self._backlog = deque(future for future in backlog if not future.done())
        self._gone = 0
