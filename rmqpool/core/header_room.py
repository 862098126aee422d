"""Fits texts of any length into what is left of one header frame: the least important is shortened, then dropped, first.

A header frame that is too large ends the whole connection (501), so that a long traceback would take down everybody.
Sizes are those of an AMQP table (AMQP 0-9-1, 4.2.5.5): a short string as the name, a type octet, a long string.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Entry", "entry_size", "fit", "shorten"]

_CUT = " … "
_OVERHEAD = 6  # bytes of an entry beside name and text: the name's length (1), the type (1), the text's length (4)


@dataclass(frozen=True, slots=True)
class Entry:
    """A header: ``most`` is its longest size in bytes of UTF-8, ``least`` what it is worth writing for.

    ``middle``: cut its middle out, because both ends tell something (a traceback); otherwise its end.
    """

    name: str
    text: str
    most: int = 255
    least: int = 1
    middle: bool = False


def entry_size(name: str, text: str) -> int:
    """Bytes that a header with a text takes in the frame."""
    return _OVERHEAD + len(name.encode()) + len(_clean(text).encode())


def fit(entries: Iterable[Entry], room: int) -> dict[str, str]:
    """The headers that fit into ``room`` bytes together. The first entry is the most important one.

    An entry that fits at its ``least`` only is shortened; one that does not is left out, and those after it are tried.
    """
    fitted: dict[str, str] = {}
    for entry in entries:
        space = room - entry_size(entry.name, "")
        text = shorten(entry.text, min(space, entry.most), middle=entry.middle)
        size = len(text.encode())
        if space < 0 or (size < entry.least and size < len(_clean(entry.text).encode())):
            continue
        fitted[entry.name] = text
        room = space - size
    return fitted


def shorten(text: str, size: int, *, middle: bool = False) -> str:
    """``text`` in at most ``size`` bytes of UTF-8. Half surrogates become their escapes; a cut is marked with …."""
    encoded = _clean(text).encode()
    if len(encoded) <= size:
        return encoded.decode()
    mark = _CUT.encode()
    if size <= len(mark):
        return encoded[: max(0, size)].decode(errors="ignore")
    left = size - len(mark)
    if not middle:
        return encoded[:left].decode(errors="ignore") + _CUT
    tail = left * 2 // 3  # the end of a traceback names the error
    return (
        encoded[: left - tail].decode(errors="ignore") + _CUT + encoded[len(encoded) - tail :].decode(errors="ignore")
    )


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
