"""The commands by name, each imported where it is called: help, a typing error and a short command wait for no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["SUMMARIES", "Commands"]

# The module rmqpool.cli.NAME adds the command NAME; its line in the list of all commands.
SUMMARIES = {
    "worker": "Import MODULE, find its WORKER and run it until it is stopped.",
    "agent": "Share a few connections with the processes of this machine.",
    "publish": "Publish BODY, or each line of a file, and wait for the outcomes.",
    "queues": "Show queues: messages, consumers.",
    "doctor": "Connect stage by stage; say what is wrong and what to do.",
    "check": "Check settings and a worker's consumers, without a broker.",
    "dlq": "Dead letters: look at them, replay, export, import, purge.",
    "pool": "Pools: how large they have to be.",
    "outbox": "The transactional outbox in Postgres: make, look, repair, relay.",
    "topology": "Queues, exchanges, bindings: plan, apply, export, migrate.",
    "config": "The settings of this folder and environment.",
}


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Loading()

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, without loading any."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of the help, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def invoke(self, ctx: Any) -> Any:
        """Typer ends with 130 and not a word where it hears of a Ctrl-C; Abort comes as far as to the caller."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


class _Loading(Mapping[str, Any]):
    """Click's commands by name; asking for one imports it."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, SUMMARIES[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in SUMMARIES

    def __iter__(self) -> Iterator[str]:
        return iter(SUMMARIES)

    def __len__(self) -> int:
        return len(SUMMARIES)


def _load(name: str, summary: str) -> Any:
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    import_module(f"rmqpool.cli.{name}").register(alone)
    command: Any = typer.main.get_group(alone).commands[name]
    command.short_help = summary
    return command
