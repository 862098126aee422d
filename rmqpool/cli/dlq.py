"""``rmqpool dlq``: dead letters, looked at, sent again, carried to a file and back, removed."""

from __future__ import annotations

import typer

from rmqpool.cli import dlq_export, dlq_import, dlq_look, dlq_purge, dlq_replay

__all__ = ["register"]

_HELP = """Dead letters: look at them, send them again, carry them to a file and back, remove them.

A condition (--where) compares reason, exception, queue, exchange, routing_key, message_id, type, attempt, age (seconds),
header.NAME or header["x-name"], and body.PATH of JSON bodies, with ==, !=, <, <=, >, >=, in, not in, and, or, not."""
_group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(_group, name="dlq")


@_group.callback(help=_HELP)
def _root() -> None:
    """Only what the commands share."""


dlq_look.register(_group)
dlq_replay.register(_group)
dlq_export.register(_group)
dlq_import.register(_group)
dlq_purge.register(_group)
