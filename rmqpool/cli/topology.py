"""``rmqpool topology``: queues, exchanges and bindings against the broker; queues that change their type."""

from __future__ import annotations

import typer

from rmqpool.cli import topology_apply, topology_export, topology_migrate, topology_plan

__all__ = ["register"]

_group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Queues, exchanges and bindings: plan, apply, export; move a classic queue to a quorum queue.",
)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(_group, name="topology")


@_group.callback()
def _root() -> None:
    """Queues, exchanges and bindings: plan, apply, export; move a classic queue to a quorum queue."""


topology_plan.register(_group)
topology_apply.register(_group)
topology_export.register(_group)
topology_migrate.register(_group)
