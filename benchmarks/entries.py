"""What is measured, as values: an entry is one client in one way of use, a scenario is what alternates in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.job import Job, QueueType

__all__ = ["C_CLIENT", "Entry", "Scenario", "find_entry"]

C_CLIENT = "librabbitmq"  # the only client that is no Python module


@dataclass(frozen=True, slots=True)
class Entry:
    """One client in one way of use.

    ``count`` is messages, for a second or so (a mode or an option may ask for more). ``fill`` is the client and action
    that puts messages in for a consumer; None: the C client, or rmqpool where that is not compiled. ``declares``: the
    client declares its queue itself. ``note`` says what is not as with the others. ``group`` is what the entry is
    compared within; "" is the whole table. The rest as :class:`benchmarks.job.Job`.
    """

    name: str
    client: str
    action: str
    count: int
    queue_type: QueueType = "quorum"
    size: int = 256
    threads: int = 1
    connections: int = 1
    window: int = 2000
    prefetch: int = 500
    fill: tuple[str, str] | None = None
    declares: bool = False
    note: str = ""
    group: str = ""

    def job(self, url: str, queue: str, factor: int) -> Job:
        """The work of one run, with ``factor`` times the usual messages."""
        return Job(
            client=self.client,
            action=self.action,
            queue=queue,
            count=self.count * factor,
            url=url,
            queue_type=self.queue_type,
            size=self.size,
            threads=self.threads,
            connections=self.connections,
            window=self.window,
            prefetch=self.prefetch,
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """Entries that alternate: each round runs every one of them once.

    Ratios are those of the first entry of each group; with ``growth`` the entries are one client in growing numbers, and
    keep their order. ``usual_rounds`` is for figures that no goal is about; None: as many rounds as the others.
    """

    key: str
    title: str
    kind: Literal["publish", "consume"]
    entries: tuple[Entry, ...]
    growth: bool = False
    usual_rounds: int | None = None


def find_entry(scenarios: tuple[Scenario, ...], scenario: str, name: str) -> Entry:
    """The entry of that name. KeyError if there is none."""
    for one in scenarios:
        if one.key == scenario:
            for entry in one.entries:
                if entry.name == name:
                    return entry
    raise KeyError(f"{scenario}: {name}")
