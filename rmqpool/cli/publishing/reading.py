"""Bodies from the command line, a file or stdin, one at a time: memory holds one line, however large the file is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError
from rmqpool.codecs import JSON, TEXT
from rmqpool.plain_json import load_json

__all__ = ["LONGEST_LINE", "Body", "body_of", "json_lines", "lines_of", "opened", "whole_stdin"]

LONGEST_LINE = 512 * 1024 * 1024  # bytes: RabbitMQ's hard limit of a message


@dataclass(frozen=True, slots=True)
class Body:
    """One message to be: its bytes, its content type, and the line (from 1) it stood on; ``read`` bytes so far.

    ``alone``: it is no line of a file, but all that there is.
    """

    content: bytes
    content_type: str
    line: int = 1
    read: int = 0
    alone: bool = False


def body_of(text: str | bytes, content_type: str | None) -> Body:
    """A body as it was given, byte for byte. It is JSON if it parses as JSON, text if not, unless one says otherwise."""
    content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return Body(content, content_type or (JSON if _is_json(content) else _type_of(content)), alone=True)


def json_lines(lines: Iterable[bytes], source: str, content_type: str | None) -> Iterator[Body]:
    """One body a line, as its bytes stand there; empty lines are passed over.

    Raises ReportedError at the first line that is no JSON: it names file and line.
    """
    read = 0
    for number, line in enumerate(lines, 1):
        read += len(line)
        content = line.strip(b" \t\r\n")
        if number == 1:
            content = content.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, which some editors write
        if not content:
            continue
        reason = _fault(content)
        if reason:
            raise ReportedError(
                f"{source}:{number}: {reason}; nothing from this line on was published: correct it and go on with "
                f"tail -n +{number}",
                kind="InputError",
                exit_code=ExitCode.INPUT,
                facts={"source": source, "line": number},
            )
        yield Body(content, content_type or JSON, number, read)


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file to read, or stdin for ``-``. Raises ReportedError."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ReportedError(
            f"{path} cannot be read: {error.strerror}", kind="InputError", exit_code=ExitCode.INPUT
        ) from None
    with file:
        yield file


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file. One that is longer than any message may be is not read to its end: it comes in pieces."""
    while line := file.readline(LONGEST_LINE):
        yield line


def whole_stdin() -> bytes:
    """All of stdin, as one body. Raises ReportedError if it is larger than any message may be."""
    content = sys.stdin.buffer.read(LONGEST_LINE + 1)
    if len(content) > LONGEST_LINE:
        raise ReportedError(
            "stdin holds more than 512 MiB: no broker takes such a message", kind="InputError", exit_code=ExitCode.INPUT
        )
    return content


def _fault(content: bytes) -> str:
    try:
        load_json(content.decode())
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {error.start + 1} of the line)"
    except RecursionError:
        return "JSON that is nested too deeply"
    except ValueError as error:
        place = f" at column {error.colno}" if hasattr(error, "colno") else ""
        return f"not JSON ({getattr(error, 'msg', error)}{place})"
    return ""


def _is_json(content: bytes) -> bool:
    return not _fault(content)


def _type_of(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return TEXT
