"""The worker: typed handlers around consumers, acknowledged when their outcome is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmqpool.late_imports import IMPORTING
from rmqpool.worker.app import Worker
from rmqpool.worker.batch_verdicts import BatchError
from rmqpool.worker.exits import end_process
from rmqpool.worker.verdicts import Postpone, Reject, Retry, Skip

if TYPE_CHECKING:
    from rmqpool.worker.stats import ConsumerStats, WorkerStats

__all__ = ["BatchError", "ConsumerStats", "Postpone", "Reject", "Retry", "Skip", "Worker", "WorkerStats", "end_process"]

if not TYPE_CHECKING:  # a type checker that sees it takes every misspelt name for an object

    def __getattr__(name: str) -> object:
        """Load the figures when somebody names them (PEP 562)."""
        if name not in ("ConsumerStats", "WorkerStats"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with IMPORTING:
            from rmqpool.worker import stats

        value: object = getattr(stats, name)
        globals()[name] = value
        return value
