"""What is told of a worker's health, and to whom: values and one small protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Health", "HealthSink"]


@dataclass(frozen=True, slots=True)
class Health:
    """``alive``: its loops come round, whatever the broker does; if not, only a new process helps. ``ready``: the broker
    delivers to all its consumers. ``state``: starting, running, reloading, stopping or stopped. ``text``: a line for
    people. ``details``: more for machines; what JSON can hold, and no secrets.
    """

    alive: bool
    ready: bool
    state: str
    text: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As ``/live`` and ``/ready`` tell it."""
        return {"alive": self.alive, "ready": self.ready, "state": self.state, "text": self.text, **self.details}


class HealthSink(Protocol):
    """Shown the health again and again, a few times a second, by one thread. Never raises for what is not there."""

    def show(self, health: Health) -> None:
        """The health of this moment. Returns at once."""
        ...

    def close(self) -> None:
        """The process ends. Idempotent."""
        ...
