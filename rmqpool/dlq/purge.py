"""Remove dead letters for good. What is removed was held before anybody was asked: what comes later cannot be among it."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rmqpool.dlq.reading import DeadLetterQueue
from rmqpool.dlq.selection import Selection

__all__ = ["Purged", "purge"]


@dataclass(slots=True)
class Purged:
    """Of ``ready`` messages ``seen`` were looked at, ``matched`` are meant, ``removed`` are gone."""

    ready: int = 0
    seen: int = 0
    matched: int = 0
    removed: int = 0


def purge(
    queue: DeadLetterQueue,
    selection: Selection,
    agreed: Callable[[int], bool],
    *,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda seen, of: None,
) -> Purged:
    """Hold the messages that are meant, ask ``agreed(how many)``, and remove exactly those if it says yes.

    8 bytes of memory for each message. ``stop`` ends the looking, and nothing is removed then. Raises NotFoundError and
    ConnectionLostError; PreconditionFailedError if the answer took longer than the broker's consumer timeout: then
    nothing was removed.
    """
    result = Purged()
    tags = array("Q")
    with queue.opened() as reading:
        result.ready = reading.bound
        while not stop() and (selection.limit is None or result.matched < selection.limit):
            letter = reading.next()
            if letter is None:
                break
            if selection.matches(letter, datetime.now(UTC)):
                tags.append(letter.delivery.delivery_tag)
                result.matched += 1
            on_progress(reading.seen, reading.bound)
        result.seen = reading.seen
        if tags and not stop() and agreed(result.matched):
            result.removed = reading.remove(tags)
    return result
