"""Which settlements of one channel may be merged. Pure: what is not settled is never covered by what is written.

``basic.ack`` with ``multiple`` settles everything up to its tag, so its tag is itself acked, still outstanding at the
broker, and every tag below it is settled; a refusal is written before the ack that passes over it (AMQP 0-9-1, 1.8.3.13;
RabbitMQ answers 406 otherwise, and gives everything back).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

__all__ = ["Instruction", "SettlementWindow", "Verdict"]

Verdict = Literal["ack", "nack", "reject"]


class Instruction(NamedTuple):
    """One method to write: basic.ack (``multiple`` or not), basic.nack or basic.reject (``requeue`` or not)."""

    verdict: Verdict
    delivery_tag: int
    multiple: bool = False
    requeue: bool = False


class SettlementWindow:
    """The settlements of one channel, from its first delivery on. Not thread-safe: one owner.

    Each tag is settled once; tags count from 1 without a gap (a gap is safe, and ends the merging). Every call takes
    amortised constant time for each tag that it is given.
    """

    __slots__ = ("_beyond", "_first")

    def __init__(self) -> None:
        self._first = 1  # the lowest tag that is not settled
        self._beyond: set[int] = set()  # tags above it that are settled, and written

    def flush(self, acked: Sequence[int], refused: Iterable[Instruction] = ()) -> list[Instruction]:
        """What to write, in this order, for the tags ``acked`` and ``refused`` since the last flush, in any order.

        Refusals first, then one ack for the settled prefix, then the acks beyond it one by one: nothing is held back.
        """
        instructions = list(refused)
        self._beyond.update(refusal.delivery_tag for refusal in instructions)
        if not acked:
            self._advance(set())
        elif min(acked) == self._first and max(acked) - self._first + 1 == len(acked):
            self._first += len(acked)  # in order and without a gap, as it mostly is
            instructions.append(Instruction("ack", self._first - 1, multiple=len(acked) > 1))
        else:
            instructions += self._acks(set(acked))
        return instructions

    def _acks(self, acked: set[int]) -> list[Instruction]:
        last, count = self._advance(acked)
        instructions = [Instruction("ack", last, multiple=count > 1)] if count else []
        instructions += [Instruction("ack", tag) for tag in sorted(acked)]
        self._beyond |= acked
        return instructions

    def _advance(self, acked: set[int]) -> tuple[int, int]:
        """Move on over everything settled; returns the last tag taken out of ``acked``, and how many were."""
        tag, last, count = self._first, 0, 0
        while True:
            if tag in acked:
                acked.remove(tag)
                last, count = tag, count + 1
            elif tag in self._beyond:
                self._beyond.remove(tag)
            else:
                break
            tag += 1
        self._first = tag
        return last, count

    def __repr__(self) -> str:
        return f"<SettlementWindow settled up to {self._first - 1}, {len(self._beyond)} beyond>"
