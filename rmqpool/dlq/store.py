"""Dead letters into a file of lines. They are acknowledged, if at all, after the file is flushed and on the disk."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rmqpool.dlq.lines import line_of
from rmqpool.dlq.reading import DeadLetterQueue, Pass
from rmqpool.dlq.selection import Selection
from rmqpool.errors import DecodeError

__all__ = ["Exported", "create", "export"]

_MESSAGES = 500  # between two fsyncs
_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Exported:
    """``exported`` messages were written, ``removed`` of them are gone from the queue, ``unreadable`` were left out."""

    seen: int = 0
    exported: int = 0
    removed: int = 0
    unreadable: int = 0


def create(path: Path) -> BinaryIO:
    """A new file, which is in its folder for good. Raises OSError, FileExistsError if it is there already."""
    file = path.open("xb")
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        file.close()
        raise
    return file


def export(
    queue: DeadLetterQueue,
    selection: Selection,
    file: BinaryIO,
    *,
    remove: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda seen, of: None,
) -> Exported:
    """Write the messages that are meant, a line each. ``remove`` needs a file with a descriptor that fsync takes.

    A run that is killed leaves whole lines but for the last one, and every message whose line may be missing is still in
    the queue. Raises OSError (the disk), NotFoundError, ChannelClosedError, ConnectionLostError, CallTimeoutError.
    """
    result = Exported()
    with queue.opened() as reading:
        chunk = _Chunk(reading, file, result)
        letters = reading.chosen(selection)
        while not stop() and (letter := next(letters, None)) is not None:
            try:
                line = line_of(letter)
            except DecodeError:
                result.unreadable += 1
                continue
            file.write(line)
            result.exported += 1
            if remove:
                chunk.add(letter.delivery.delivery_tag, len(line))
            on_progress(reading.seen, reading.bound)
        result.seen = reading.seen
        if remove:
            chunk.finish()
        else:
            file.flush()
    return result


class _Chunk:
    """Lines that are written and not on the disk yet."""

    def __init__(self, reading: Pass, file: BinaryIO, result: Exported) -> None:
        self._reading = reading
        self._file = file
        self._result = result
        self._tags = array("Q")
        self._bytes = 0

    def add(self, tag: int, size: int) -> None:
        self._tags.append(tag)
        self._bytes += size
        if len(self._tags) >= _MESSAGES or self._bytes >= _BYTES:
            self.finish()

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._tags:
            self._result.removed += self._reading.remove(self._tags)
        self._tags = array("Q")
        self._bytes = 0
