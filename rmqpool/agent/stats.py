"""An agent in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["AgentStats"]


@dataclass(frozen=True, slots=True)
class AgentStats:
    """At one moment: ``clients``, ``channels``, ``connections`` (those that are up), ``waiting_bytes``, ``unanswered``
    (publishes that the broker owes a confirm). Since the start: ``served`` (clients), ``messages`` (published through it),
    ``refused`` (clients not let in), ``cut`` (clients ended for what they did or did not do), ``lost`` (connections).
    """

    clients: int = 0
    channels: int = 0
    connections: int = 0
    waiting_bytes: int = 0
    unanswered: int = 0
    served: int = 0
    messages: int = 0
    refused: int = 0
    cut: int = 0
    lost: int = 0

    def __add__(self, other: AgentStats) -> AgentStats:
        mine, others = asdict(self), asdict(other)
        return AgentStats(**{name: mine[name] + others[name] for name in mine})

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.clients} clients with {self.channels} channels over {self.connections} connections, "
            f"{self.messages} messages, {self.waiting_bytes} bytes waiting"
        )
