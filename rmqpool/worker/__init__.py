"""The worker: typed handlers around consumers, acknowledged when their outcome is safe."""

from __future__ import annotations

from rmqpool.worker.app import Worker
from rmqpool.worker.exits import end_process
from rmqpool.worker.stats import ConsumerStats, WorkerStats
from rmqpool.worker.verdicts import Reject, Retry

__all__ = ["ConsumerStats", "Reject", "Retry", "Worker", "WorkerStats", "end_process"]
