"""The confirm window: delivery tags on one channel, and what each broker answer settles. Pure; nothing else decides this.

Sequence numbers start at 1 with confirm.select and are never carried over to another channel; acks come out of order and
with ``multiple``; a basic.return comes before its ack and has no delivery tag
(https://www.rabbitmq.com/docs/confirms, https://www.rabbitmq.com/docs/publishers#unroutable).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["ConfirmWindow", "Returned", "Settled"]

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Returned:
    """What the broker said when it gave a message back."""

    reply_code: int
    reply_text: str


_NO_TAGS: deque[int] = deque()


@dataclass(slots=True)
class Settled(Generic[Entry]):
    """What one answer of the broker settled: each entry stands in exactly one list, in publishing order."""

    acked: list[Entry] = field(default_factory=list)
    nacked: list[Entry] = field(default_factory=list)
    returned: list[tuple[Entry, Returned]] = field(default_factory=list)


class ConfirmWindow(Generic[Entry]):
    """The unconfirmed messages of one channel, in the order of their delivery tags. Not thread-safe: one owner.

    ``add`` gives the tag that the broker will count for the message; ``ack`` and ``nack`` settle; ``give_back`` notes a
    return, found by ``name_of`` (what a basic.return tells of a message); ``lose`` empties the window when the channel is
    gone. An answer for a tag that was settled before, or was never given out, settles nothing and is counted in
    ``strays``. Every call takes amortised constant time for each message.
    """

    __slots__ = ("_base", "_by_name", "_name_of", "_open", "_returned", "_slots", "strays")

    def __init__(self, name_of: Callable[[Entry], Hashable]) -> None:
        self._name_of = name_of
        self._slots: deque[Entry | None] = deque()  # index 0 has the tag _base; None: settled out of order
        self._base = 1
        self._open = 0
        self._returned: dict[int, Returned] = {}
        self._by_name: dict[Hashable, deque[int]] | None = None  # tags, from the first return until the window is empty
        self.strays = 0

    def __len__(self) -> int:
        return self._open

    def __bool__(self) -> bool:
        return self._open > 0

    @property
    def next_tag(self) -> int:
        """The delivery tag of the next message that is added."""
        return self._base + len(self._slots)

    def entries(self) -> list[Entry]:
        """All unconfirmed entries, in publishing order."""
        return [entry for entry in self._slots if entry is not None]

    def add(self, entry: Entry) -> int:
        """Take in a message that is about to be written; return its delivery tag."""
        self.extend((entry,))
        return self.next_tag - 1

    def extend(self, entries: Sequence[Entry]) -> None:
        """Take in messages that are about to be written, in this order."""
        if self._by_name is not None:
            for tag, entry in enumerate(entries, self.next_tag):
                self._by_name.setdefault(self._name_of(entry), deque()).append(tag)
        self._slots.extend(entries)
        self._open += len(entries)

    def give_back(self, name: Hashable, returned: Returned) -> bool:
        """Note a basic.return for the first message of that name that was not given back yet; False if there is none.

        The broker returns in publishing order, so the first one is the right one even if an id was used twice.
        """
        if self._by_name is None:
            self._by_name = self._index()
        tags = self._by_name.get(name, _NO_TAGS)
        while tags:
            tag = tags.popleft()
            if tag >= self._base and self._slots[tag - self._base] is not None:
                self._returned[tag] = returned
                return True
        self.strays += 1
        return False

    def _index(self) -> dict[Hashable, deque[int]]:
        by_name: dict[Hashable, deque[int]] = {}
        for tag, entry in enumerate(self._slots, self._base):
            if entry is not None:
                by_name.setdefault(self._name_of(entry), deque()).append(tag)
        return by_name

    def ack(self, tag: int, multiple: bool = False) -> Settled[Entry]:
        """basic.ack: an entry that was given back before counts as returned, any other as acked."""
        taken = self._take(tag, multiple)
        if not self._returned:
            return Settled([entry for _, entry in taken])
        settled: Settled[Entry] = Settled()
        for own_tag, entry in taken:
            returned = self._returned.pop(own_tag, None)
            if returned is None:
                settled.acked.append(entry)
            else:
                settled.returned.append((entry, returned))
        return settled

    def nack(self, tag: int, multiple: bool = False) -> Settled[Entry]:
        """basic.nack: the broker does not take responsibility, whether it gave the message back or not."""
        settled: Settled[Entry] = Settled()
        for own_tag, entry in self._take(tag, multiple):
            self._returned.pop(own_tag, None)
            settled.nacked.append(entry)
        return settled

    def hollow(self, is_over: Callable[[Entry], bool], placeholder: Entry) -> None:
        """Put ``placeholder`` in the place of entries that are over for everybody but the broker: their tags still count.

        So do their names: a return may still come for one of them, and must not find a later message of the same name.
        """
        if self._by_name is None:
            self._by_name = self._index()
        self._slots = deque(placeholder if entry is not None and is_over(entry) else entry for entry in self._slots)

    def lose(self) -> tuple[list[Entry], list[tuple[Entry, Returned]]]:
        """The channel is gone: return (those without any answer, those given back); the window is empty afterwards.

        What was given back is stored nowhere, so its outcome is known even though its ack never came.
        """
        unanswered: list[Entry] = []
        returned: list[tuple[Entry, Returned]] = []
        for index, entry in enumerate(self._slots):
            if entry is None:
                continue
            given_back = self._returned.get(self._base + index)
            if given_back is None:
                unanswered.append(entry)
            else:
                returned.append((entry, given_back))
        self._slots.clear()
        self._returned.clear()
        self._by_name = None
        self._open = 0
        return unanswered, returned

    def _take(self, tag: int, multiple: bool) -> list[tuple[int, Entry]]:
        if multiple and tag == 0:  # AMQP 0-9-1, basic.ack: tag 0 with multiple means all outstanding messages
            tag = self.next_tag - 1
        if not self._base <= tag < self.next_tag:
            self.strays += 1
            return []
        if multiple or tag == self._base:
            taken = self._take_through(tag) if multiple else self._take_through(self._base)
        else:
            taken = self._take_one(tag)
        self._open -= len(taken)
        while self._slots and self._slots[0] is None:
            self._slots.popleft()
            self._base += 1
        if not taken:
            self.strays += 1
        if not self._slots:
            self._by_name = None
        return taken

    def _take_through(self, tag: int) -> list[tuple[int, Entry]]:
        first, last = self._base, min(tag, self.next_tag - 1)
        pop = self._slots.popleft
        slots = [pop() for _ in range(first, last + 1)]
        self._base = last + 1
        return [(own_tag, entry) for own_tag, entry in enumerate(slots, first) if entry is not None]

    def _take_one(self, tag: int) -> list[tuple[int, Entry]]:
        index = tag - self._base
        entry = self._slots[index]
        if entry is None:
            return []
        self._slots[index] = None
        return [(tag, entry)]
