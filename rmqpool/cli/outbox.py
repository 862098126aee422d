"""``rmqpool outbox``: the outbox in Postgres, made, looked at, repaired and relayed."""

from __future__ import annotations

import typer

from rmqpool.cli import outbox_doctor, outbox_look, outbox_migrate, outbox_relay, outbox_repair

__all__ = ["register"]

_group = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The transactional outbox in Postgres: make, look, repair, relay."
)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(_group, name="outbox")


@_group.callback()
def _root() -> None:
    """The transactional outbox in Postgres: make, look, repair, relay."""


outbox_migrate.register(_group)
outbox_relay.register(_group)
outbox_look.register(_group)
outbox_repair.register(_group)
outbox_doctor.register(_group)
