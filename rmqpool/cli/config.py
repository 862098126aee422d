"""``rmqpool config``: where each setting comes from."""

from __future__ import annotations

import typer

from rmqpool.cli.options import JsonOption, UrlOption
from rmqpool.cli.session import load
from rmqpool.cli.terminal import print_json, print_table

__all__ = ["register"]

_group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The settings of this folder and environment.")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(_group, name="config")


@_group.callback()
def _root() -> None:
    """The settings of this folder and environment."""


@_group.command("show")
def show(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show every setting with its value (no secrets) and its source.

    Argument, then environment RMQPOOL_*, then [tool.rmqpool] in pyproject.toml, then default.

    \b
    Example:
      rmqpool config show
      RMQPOOL_HEARTBEAT=30 rmqpool config show --json
    """
    from rmqpool.config import explain

    rows = explain(load(url=url))
    if as_json:
        print_json({"ok": True, "settings": {row.name: {"value": row.value, "source": row.source} for row in rows}})
        return
    print_table(("setting", "value", "source"), [(row.name, row.value or "-", row.source) for row in rows])
