"""What one client process has to do, as a value: the parent writes it, the child reads it from its environment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

__all__ = ["JOB_VARIABLE", "Job", "QueueType"]

JOB_VARIABLE = "BENCHMARK_JOB"
QueueType = Literal["quorum", "classic"]


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one client. It travels in the environment, since arguments are seen by every user of the machine.

    ``client`` is a module of benchmarks.clients, ``action`` one of its functions. ``count`` is messages in the measured
    window, ``size`` bytes of a body, ``window`` messages without a confirm, ``prefetch`` messages without an ack.
    """

    client: str
    action: str
    queue: str
    count: int
    url: str = field(default="", repr=False)
    queue_type: QueueType = "quorum"
    size: int = 256
    threads: int = 1
    connections: int = 1
    window: int = 2000
    prefetch: int = 500

    def to_json(self) -> str:
        """The text for the child's environment. It holds the URL with its password: never print it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The other way round; TypeError for a field that there is not."""
        return cls(**json.loads(text))

    @property
    def body(self) -> bytes:
        """A body of ``size`` bytes."""
        return b"x" * self.size
