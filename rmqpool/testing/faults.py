"""The faults that a network can have at one moment, and which frame or byte sets an armed one off.

No sockets here: the proxy's links ask, and act. A `Network` belongs to the proxy's loop and is touched there only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from rmqpool.testing.amqp_frames import Frame, check_kind

__all__ = ["DIRECTIONS", "ByteLimit", "Cut", "Direction", "Fault", "How", "Network", "When", "directions"]

Direction = Literal["to_broker", "from_broker"]
How = Literal["reset", "close", "blackhole", "drop", "silence"]
When = Literal["before", "after"]

DIRECTIONS: Final[tuple[Direction, Direction]] = get_args(Direction)


def directions(direction: Direction | None) -> tuple[Direction, ...]:
    """The directions that are meant: both for None. Raises ValueError for an unknown name."""
    if direction is None:
        return DIRECTIONS
    _check("direction", direction, DIRECTIONS)
    return (direction,)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}: it is one of {', '.join(known)}")


class Fault:
    """An armed fault that goes off once. Thread-safe."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._fired = threading.Event()

    @property
    def fired(self) -> bool:
        """Whether it went off and was carried out."""
        return self._fired.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until it went off; return whether it did."""
        return self._fired.wait(timeout)

    def mark_fired(self) -> None:
        """The proxy calls this after it has acted."""
        self._fired.set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._description}, {'fired' if self.fired else 'armed'}>"


class Cut(Fault):
    """Goes off at the nth frame of a kind in one direction, counted over all connections from when it was armed."""

    def __init__(self, frame: str, nth: int, direction: Direction, when: When, how: How) -> None:
        check_kind(frame)
        _check("direction", direction, DIRECTIONS)
        _check("when", when, get_args(When))
        _check("how", how, get_args(How))
        if nth < 1:
            raise ValueError(f"nth is {nth}: the first frame is 1")
        if how == "drop" and when == "after":
            raise ValueError("a dropped frame does not pass: how='drop' goes with when='before' only")
        super().__init__(f"{how} {when} {frame} #{nth} {direction}")
        self.when: Final = when
        self.how: Final = how
        self._kind = frame
        self._direction = direction
        self._left = nth

    def counts(self, frame: Frame, direction: Direction) -> bool:
        """Count the frame if it is of this cut's kind; return whether it is the one that sets the cut off."""
        if direction != self._direction or not frame.is_a(self._kind):
            return False
        self._left -= 1
        return self._left <= 0


class ByteLimit(Fault):
    """Lets a number of bytes pass in one direction, over all connections, and then goes off."""

    def __init__(self, count: int, direction: Direction) -> None:
        _check("direction", direction, DIRECTIONS)
        if count < 0:
            raise ValueError(f"the number of bytes is {count}: it cannot be negative")
        super().__init__(f"reset after {count} bytes {direction}")
        self.direction: Final[Direction] = direction
        self._left = count

    def take(self, count: int) -> int:
        """Of the next `count` bytes, how many may still pass."""
        allowed = min(count, self._left)
        self._left -= allowed
        return allowed

    @property
    def spent(self) -> bool:
        """Whether no byte may pass any more."""
        return self._left == 0


@dataclass
class Network:
    """The faults in force now.

    latency: seconds that each byte is late. slice_bytes: pieces of that size, 0 for none; slice_delay: seconds between.
    black, stalled: directions whose bytes are swallowed, held back. answers: frames that the broker may send on a
    new connection before it goes silent; None for no limit.
    """

    latency: float = 0.0
    slice_bytes: int = 0
    slice_delay: float = 0.0
    black: frozenset[Direction] = frozenset()
    stalled: frozenset[Direction] = frozenset()
    answers: int | None = None
    cuts: list[Cut] = field(default_factory=list)
    limits: list[ByteLimit] = field(default_factory=list)

    def cut_for(self, frame: Frame, direction: Direction) -> Cut | None:
        """Show a frame to every armed cut; return the one that goes off, now disarmed.

        When two go off at one frame the elder is returned, and the other takes the next frame of its kind.
        """
        due = [cut for cut in self.cuts if cut.counts(frame, direction)]
        if not due:
            return None
        self.cuts.remove(due[0])
        return due[0]

    def limit_for(self, direction: Direction) -> ByteLimit | None:
        """The byte limit in force in a direction, the eldest first."""
        return next((limit for limit in self.limits if limit.direction == direction), None)

    def heal(self) -> None:
        """Take every fault back, the armed ones too."""
        vars(self).update(vars(Network()))
