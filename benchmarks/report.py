"""What a run found, as values that go to JSON and come back from it. Only figures: no opinion, no drawing."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

__all__ = [
    "ClaimTime",
    "EntryResult",
    "Footprint",
    "Latency",
    "Machine",
    "OutboxCost",
    "PoolResult",
    "PoolRun",
    "PoolTable",
    "Recovery",
    "Report",
    "Sample",
    "ScenarioResult",
    "Startup",
    "Waits",
]


@dataclass(frozen=True)
class Sample:
    """One run of one client: its measured window. ``connections`` to the broker at its end, None where not counted."""

    messages: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    connections: int | None = None

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds of the client, user and system, for a million messages."""
        return self.cpu_seconds / self.messages * 1_000_000


@dataclass(frozen=True)
class EntryResult:
    """One row. ``missing`` says why there are no samples; ``failed`` holds the errors of runs that failed."""

    name: str
    note: str = ""
    missing: str = ""
    samples: tuple[Sample, ...] = ()
    failed: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class ScenarioResult:
    """One table. Its ratios are those of the first entry of each group; of ``growth``, those to the first entry."""

    key: str
    title: str
    rounds: int
    entries: tuple[EntryResult, ...]
    growth: bool = False


@dataclass(frozen=True)
class Recovery:
    """A broker was restarted under two pools. Seconds, one of each for a restart; ``cap`` is the reconnect cap.

    ``lived_through``: from the broker accepting connections to the confirm of a message that waited all the time.
    ``fresh``: from a publish right then, on a pool that was told nothing meanwhile, to its confirm.
    """

    cap: float
    lived_through: tuple[float, ...]
    fresh: tuple[float, ...]


@dataclass(frozen=True)
class Startup:
    """How long a fresh interpreter needs for a statement or a program, in seconds, one of each for a start."""

    name: str
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Footprint:
    """What it costs to be there: start-up times, and the resident size of an idle worker in bytes."""

    startups: tuple[Startup, ...]
    idle_worker_bytes: int


@dataclass(frozen=True)
class Latency:
    """To the broker's confirm, in seconds, at ``rate`` transactions a second.

    ``p50`` and ``p99`` are from before the insert, so the commit with its fsync is in them; ``commit_p50`` and
    ``commit_p99`` from when the commit had returned: what the outbox adds to the application's own transaction.
    """

    rate: int
    p50: float
    p99: float
    commit_p50: float | None = None
    commit_p99: float | None = None


@dataclass(frozen=True)
class ClaimTime:
    """The median time of a claim statement, in seconds, with ``rows`` waiting."""

    rows: int
    seconds: float


@dataclass(frozen=True)
class OutboxCost:
    """What the outbox costs. Statements and bytes of write-ahead log are for each row, one of each for a run.

    ``postgres`` is the server's version.
    """

    statements: tuple[float, ...] = ()
    wal_bytes: tuple[float, ...] = ()
    latencies: tuple[Latency, ...] = ()
    claims: tuple[ClaimTime, ...] = ()
    postgres: str = ""


@dataclass(frozen=True)
class Waits:
    """How long callers waited for a resource, in seconds."""

    p50: float
    p90: float
    p99: float
    longest: float


@dataclass(frozen=True)
class PoolRun:
    """One run of one resource pool: so many leases in so many seconds.

    ``opened`` counts resources, the minimum among them. ``largest_share``: the part of all leases that one thread had.
    """

    leases: int
    seconds: float
    opened: float
    waits: Waits | None = None
    largest_share: float | None = None


@dataclass(frozen=True)
class PoolResult:
    """One pool in one table, as :class:`EntryResult`."""

    name: str
    note: str = ""
    missing: str = ""
    runs: tuple[PoolRun, ...] = ()
    failed: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class PoolTable:
    """One table of pools; within a group they are comparable."""

    key: str
    title: str
    rounds: int
    pools: tuple[PoolResult, ...]


@dataclass(frozen=True)
class Machine:
    """Where and with what the figures were taken."""

    taken: str
    processors: int
    system: str
    python: str
    rabbitmq: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Report:
    """Everything of one run. ``mode`` is quick, usual or full, ``parts`` what was to be run, ``problems`` tells what failed."""

    mode: str
    parts: tuple[str, ...]
    machine: Machine
    scenarios: tuple[ScenarioResult, ...]
    recovery: Recovery | None = None
    footprint: Footprint | None = None
    outbox: OutboxCost | None = None
    pools: tuple[PoolTable, ...] = ()
    problems: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_ADAPTER.dump_json(self, indent=1) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what :meth:`write` wrote. pydantic.ValidationError if it is something else."""
        return _ADAPTER.validate_json(path.read_bytes())


_ADAPTER = TypeAdapter(Report)
