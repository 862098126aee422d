"""An option before its command: where it belongs. Pure: it looks at the tree of commands and at the arguments only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["right_place"]


def right_place(root: Any, name: str, option: str, arguments: Sequence[str]) -> str:
    """``rmqpool publish --json`` for ``rmqpool --json publish``; empty if the command has no such option.

    ``root`` is Typer's group of commands, ``name`` how it is called.
    """
    command, path = root, [name]
    for word in arguments:
        commands = getattr(command, "commands", {})
        if word in commands:
            command = commands[word]
            path.append(word)
    if hasattr(command, "commands"):
        return ""
    return " ".join([*path, option]) if any(option in parameter.opts for parameter in command.params) else ""
