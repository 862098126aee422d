"""Settings that a running broker reads anew for each connection or channel: a node of a test's own would take seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rmqpool.testing.rabbitmq import RabbitMQNode

__all__ = ["WITHOUT_A_LINE", "reconfigured"]

WITHOUT_A_LINE = ("channel_tick_interval",)  # settings that rabbitmq.conf does not know


@contextmanager
def reconfigured(node: RabbitMQNode, **settings: int) -> Iterator[None]:
    """The broker's environment has these values as long as the block lasts: for what is opened in it, and nothing else."""
    names = ", ".join(settings)
    before = node.query(
        f"[case application:get_env(rabbit, Name) of {{ok, V}} -> V; _ -> null end || Name <- [{names}]]"
    )
    _set(node, settings)
    try:
        yield
    finally:
        _set(node, dict(zip(settings, before, strict=True)))


def _set(node: RabbitMQNode, settings: dict[str, int | None]) -> None:
    node.command(
        ", ".join(
            f"application:unset_env(rabbit, {name})"
            if value is None
            else f"application:set_env(rabbit, {name}, {value})"
            for name, value in settings.items()
        )
    )
