"""``rmqpool pool``: sizes of pools."""

from __future__ import annotations

import typer

from rmqpool.cli import pool_size

__all__ = ["register"]

_group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pools: how large they have to be.")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(_group, name="pool")


@_group.callback()
def _root() -> None:
    """Pools: how large they have to be."""


pool_size.register(_group)
