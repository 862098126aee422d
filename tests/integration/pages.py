"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(file.relative_to(ROOT)) for file in FILES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]+) -->\n+\Z")
_FILE = re.compile(r"<!-- a file: (?P<path>[^>]+) -->\n+\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block: its file, the line of its first line of code, its language, and why it does not run, if so.

    ``path``: the block is a whole file of the reader's, which has nothing from other blocks.
    """

    file: str
    line: int
    language: str
    code: str
    not_run: str | None
    path: str | None


def blocks_of(name: str, language: str) -> list[Block]:
    """The blocks of a file in one language."""
    text = (ROOT / name).read_text()
    found = []
    for match in FENCE.finditer(text):
        reason, path = (mark.search(text[: match.start()]) for mark in (_NOT_RUN, _FILE))
        line = text[: match.start(2)].count("\n") + 1
        found.append(Block(name, line, match[1], match[2], reason and reason["reason"], path and path["path"]))
    return [block for block in found if block.language == language]
