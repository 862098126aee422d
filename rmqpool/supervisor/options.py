"""What a supervisor is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rmqpool.core.respawn import Respawn

__all__ = ["SupervisorOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """``command`` with ``environment`` starts one worker process; ``name`` stands for it in the log.

    ``processes``: how many. ``grace``: the seconds that handlers get at the end, until a process has told its own.
    ``ready_timeout``: seconds that a new process may take to get ready in a rolling reload. ``hang_timeout``: seconds
    without a sign of life after which a process is killed and replaced (0: never; otherwise 2 at least). ``burst``:
    processes end by themselves. ``reload``: the folder whose .py files restart them all. ``refusals``: exit codes with
    which a worker refuses to start. ``make_respawn``: the pauses of one place.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    processes: int = 1
    grace: float = 30.0
    ready_timeout: float = 60.0
    hang_timeout: float = 60.0
    burst: bool = False
    reload: Path | None = None
    refusals: frozenset[int] = frozenset()
    make_respawn: Callable[[], Respawn] = Respawn
