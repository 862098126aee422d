"""What commands print. Results go to stdout, everything else to stderr; colour and symbols only where a terminal is.

``NO_COLOR`` is honoured (https://no-color.org), and so is ``TERM=dumb``; Rich is loaded only when a table or bar is drawn.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "print_json", "print_line", "print_table", "styled", "supports", "takes_colour"]

_ANSI = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}


def takes_colour(stream: TextIO) -> bool:
    """True if colour may be written to ``stream``: a terminal, and nobody said no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def supports(stream: TextIO, text: str) -> bool:
    """True if ``stream`` is a terminal whose encoding has every character of ``text``."""
    if not stream.isatty():
        return False
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """``text`` in a colour (green, yellow, red) or weight (bold, dim), if the stream takes colour."""
    if not takes_colour(stream or sys.stdout):
        return text
    return f"\x1b[{_ANSI[style]}m{text}\x1b[0m"


def print_line(text: str = "", *, error: bool = False) -> None:
    """One line on stdout, or on stderr."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{_printable(text, stream)}\n")
    stream.flush()


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")  # ASCII: fits any terminal and pipe
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table on stdout: drawn by Rich on a terminal, tab-separated lines otherwise (fit for cut and awk)."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            print_line("\t".join(row))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def console(*, error: bool = False) -> Console:
    """Rich's console on stdout, or on stderr."""
    from rich.console import Console

    return Console(stderr=error, highlight=False)


def _printable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
