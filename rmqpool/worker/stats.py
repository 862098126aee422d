"""What a worker counts, and what it tells. Counters only grow, from the start of a run to its end."""

from __future__ import annotations

from dataclasses import dataclass, fields
from threading import get_ident

__all__ = ["ConsumerStats", "Counters", "WorkerStats"]


class Counters:
    """The counters of one consumer. Thread-safe without a lock: each thread counts for itself, and reading adds up."""

    def __init__(self) -> None:
        self._names = tuple(field.name for field in fields(_Counted))
        self._of_threads: dict[int, dict[str, int]] = {}  # by thread ident; an ident is one thread's at a time

    def add(self, name: str, count: int = 1) -> None:
        """Count; KeyError for a name that is no field."""
        counts = self._of_threads.get(get_ident())
        if counts is None:
            counts = self._of_threads.setdefault(get_ident(), dict.fromkeys(self._names, 0))
        counts[name] += count

    def values(self) -> dict[str, int]:
        """All counters."""
        of_threads = list(self._of_threads.values())
        return {name: sum(counts[name] for counts in of_threads) for name in self._names}


@dataclass(frozen=True, slots=True)
class _Counted:
    """What became of messages.

    ``handled``: the handler returned. ``failed``: it raised (a verdict is no failure), or
    returned what cannot be sent as a reply. ``rejected``, ``retried``: it
    raised Reject or Retry. ``skipped``: it, or middleware, raised Skip, and the message was acknowledged.
    ``undecodable``: it was not called, because the body is not what it takes. ``parked``: confirmed in the dead-letter
    queue. ``dead_lettered``: left to the broker, because parking failed. ``requeued``: went back to the queue, failed
    or not begun. ``unsettled``: ack='manual', and the handler returned without settling. ``stale``: dropped, because
    the channel of the delivery was gone (the message comes again). ``abandoned``: the handler still ran when the worker
    stopped waiting for it (the message comes again). ``duplicates``: acknowledged without the handler, because the
    inbox knew it. ``postponed``: handled later, because the inbox's database could not be reached, or
    middleware said so. ``held_back``: failed, and
    tried again by this process. ``delayed``: confirmed in a retry queue, from which it comes back, or at the end of its
    own. ``answered``: the
    handler's result was confirmed as the reply, and the message acknowledged. ``overdue_warned``: out for 80 % of the
    broker's consumer timeout. ``overdue``: given back, parked, requeued or left just before it. ``stalled``,
    ``healed``: how often the broker delivered nothing although it had something, and did so again. ``timed_out``: the
    handler took longer than a limit of its time. With ``executor="process"``: ``children_died``: killed, or ended by
    themselves; ``children_recycled``: replaced in good order; ``poisoned``: messages that killed too many.
    """

    handled: int = 0
    failed: int = 0
    rejected: int = 0
    retried: int = 0
    skipped: int = 0
    undecodable: int = 0
    parked: int = 0
    parking_failed: int = 0
    dead_lettered: int = 0
    requeued: int = 0
    unsettled: int = 0
    stale: int = 0
    abandoned: int = 0
    duplicates: int = 0
    postponed: int = 0
    held_back: int = 0
    delayed: int = 0
    delaying_failed: int = 0
    answered: int = 0
    answering_failed: int = 0
    overdue_warned: int = 0
    overdue: int = 0
    stalled: int = 0
    healed: int = 0
    timed_out: int = 0
    children_died: int = 0
    children_recycled: int = 0
    poisoned: int = 0


@dataclass(frozen=True, slots=True)
class ConsumerStats(_Counted):
    """One consumer. ``in_progress``: handlers running now; ``waiting``: delivered and not begun; ``ready``: the broker
    delivers to it; ``paused``: why middleware lets it get no messages, if so; ``delivered``: messages received;
    ``prefetch``: how many may be out at once for now (0: paused);
    ``last_error``: what its channel lost last, as text.
    """

    queue: str = ""
    ready: bool = False
    in_progress: int = 0
    waiting: int = 0
    delivered: int = 0
    prefetch: int = 0
    paused: str = ""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class WorkerStats(_Counted):
    """A worker: the sums of its consumers. ``state`` is new, starting, running, stopping or stopped."""

    name: str = ""
    state: str = "new"
    ready: bool = False
    in_progress: int = 0
    consumers: tuple[ConsumerStats, ...] = ()

    @classmethod
    def of(cls, name: str, state: str, consumers: tuple[ConsumerStats, ...]) -> WorkerStats:
        """Add the consumers up. The worker is ready while it runs and all of them are."""
        summed = {field.name: sum(getattr(one, field.name) for one in consumers) for field in fields(_Counted)}
        ready = state == "running" and all(one.ready for one in consumers)
        return cls(
            **summed,
            name=name,
            state=state,
            ready=ready,
            in_progress=sum(one.in_progress for one in consumers),
            consumers=consumers,
        )
