"""Which clients may be read, so that what waits stays within its bounds. It decides; the clock and the sockets are others'.

While the broker takes nothing, nobody is read. While the messages that are not complete take too much, small ones still get
through, in small bites; of the others only one client is read: the one that is in the middle of its message for the longest, so
that there is always one that can come to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from rmqpool.agent.options import Bounds

__all__ = ["Gate", "Reader"]

_LOOK = 0.005  # seconds until a full buffer is looked at again; grows to the second figure
_LOOK_RARELY = 0.1
_READ = 256 * 1024  # bytes at once
_BITE = 8 * 1024  # the same, while memory is short
_SMALL = 64 * 1024  # bytes: who holds less is no trouble
_STALLED = 3.0  # seconds in the middle of a message, when memory is short


class Reader(Protocol):
    """A client: ``read_at`` is when its last byte came (monotonic seconds), ``counted`` its bytes in the sum."""

    read_at: float
    counted: int

    def resume(self) -> None: ...


ReaderT = TypeVar("ReaderT", bound=Reader)


class Gate(Generic[ReaderT]):
    """``call_later`` is the I/O thread's; ``unwritten`` tells the bytes that the broker has not taken yet. I/O thread only."""

    def __init__(
        self, call_later: Callable[[float, Callable[[], None]], Any], bounds: Bounds, unwritten: Callable[[], int]
    ) -> None:
        self.begun = 0  # bytes of what is not complete
        self.is_closed = False
        self._call_later = call_later
        self._bounds = bounds
        self._unwritten = unwritten
        self._holders: dict[ReaderT, None] = {}  # those in the middle of a message, the oldest first
        self._paused: dict[ReaderT, None] = {}
        self._congested = False
        self._pause = _LOOK
        self._looking = False

    def close(self) -> None:
        """Nobody is read any more."""
        self.is_closed = True

    def look(self, unwritten: int) -> None:
        """So many bytes wait for the broker."""
        self._congested = unwritten > self._bounds.unwritten

    def room_for(self, client: ReaderT) -> int:
        """How many bytes of it may be read now. 0: it is to pause; it is resumed when there is room."""
        if self.is_closed:
            return 0
        if not self._congested:
            if self.begun <= self._bounds.begun or self._oldest is client:
                return _READ
            if self._is_small(client):
                return _BITE
        self._paused[client] = None
        if not self._looking:
            self._pause = _LOOK
            self._look_later()
        return 0

    def _is_small(self, client: ReaderT) -> bool:
        return client.counted < _SMALL and self.begun <= 2 * self._bounds.begun

    def has_read(self, client: ReaderT, waiting: int) -> None:
        """It has ``waiting`` bytes of what is not complete now."""
        if waiting == client.counted:
            return
        self.begun += waiting - client.counted
        client.counted = waiting
        if waiting:
            self._holders.setdefault(client)
        else:
            self._holders.pop(client, None)

    def forget(self, client: ReaderT) -> None:
        """It is gone."""
        self.has_read(client, 0)
        self._paused.pop(client, None)

    def stalled(self, now: float) -> ReaderT | None:
        """The one that all others wait for, if it has sent nothing for long."""
        oldest = self._oldest
        short = bool(self._paused) and self.begun > self._bounds.begun and not self._congested
        if not short or oldest is None or oldest in self._paused or now - oldest.read_at <= _STALLED:
            return None
        return oldest

    @property
    def _oldest(self) -> ReaderT | None:
        return next(iter(self._holders), None)

    def _look_later(self) -> None:
        self._looking = True
        self._call_later(self._pause, self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        self._congested = self._unwritten() > self._bounds.unwritten // 2
        self._pause = min(_LOOK_RARELY, self._pause * 1.5)
        if not self._congested and not self.is_closed:
            short, oldest = self.begun > self._bounds.begun, self._oldest
            for client in tuple(self._paused):
                if not short or client is oldest or self._is_small(client):
                    del self._paused[client]
                    client.resume()
        if self._paused:
            self._look_later()
