"""Middleware that is ready to use, one concern a file: put objects of these classes into ``middleware=[…]``.

Each is loaded when it is named. :class:`Metrics`, and :class:`PoolMetrics` and :class:`BreakerMetrics`, which tell the figures of
pools and circuit breakers beside it, need ``pip install 'rmqpool[metrics]'``, :class:`Tracing` ``rmqpool[tracing]``, as does
:class:`OpenTelemetryMetrics`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rmqpool.late_imports import IMPORTING

if TYPE_CHECKING:
    from rmqpool.core.breaker import BreakerPolicy, BreakerState
    from rmqpool.middlewares.breaker_metrics import BreakerMetrics
    from rmqpool.middlewares.circuit_breaker import CircuitBreaker
    from rmqpool.middlewares.idempotency import Idempotency
    from rmqpool.middlewares.idempotency_store import IdempotencyStore, InMemoryIdempotencyStore, Known
    from rmqpool.middlewares.logs import Logging
    from rmqpool.middlewares.metrics import Metrics
    from rmqpool.middlewares.open_telemetry import OpenTelemetryMetrics
    from rmqpool.middlewares.pool_metrics import PoolMetrics
    from rmqpool.middlewares.time_limit import TimeLimit
    from rmqpool.middlewares.tracing import Tracing

__all__ = [
    "BreakerMetrics",
    "BreakerPolicy",
    "BreakerState",
    "CircuitBreaker",
    "Idempotency",
    "IdempotencyStore",
    "InMemoryIdempotencyStore",
    "Known",
    "Logging",
    "Metrics",
    "OpenTelemetryMetrics",
    "PoolMetrics",
    "TimeLimit",
    "Tracing",
]

_HOME = {
    "BreakerMetrics": "rmqpool.middlewares.breaker_metrics",
    "BreakerPolicy": "rmqpool.core.breaker",
    "BreakerState": "rmqpool.core.breaker",
    "CircuitBreaker": "rmqpool.middlewares.circuit_breaker",
    "Idempotency": "rmqpool.middlewares.idempotency",
    "IdempotencyStore": "rmqpool.middlewares.idempotency_store",
    "InMemoryIdempotencyStore": "rmqpool.middlewares.idempotency_store",
    "Known": "rmqpool.middlewares.idempotency_store",
    "Logging": "rmqpool.middlewares.logs",
    "Metrics": "rmqpool.middlewares.metrics",
    "OpenTelemetryMetrics": "rmqpool.middlewares.open_telemetry",
    "PoolMetrics": "rmqpool.middlewares.pool_metrics",
    "TimeLimit": "rmqpool.middlewares.time_limit",
    "Tracing": "rmqpool.middlewares.tracing",
}

if not TYPE_CHECKING:  # a type checker that sees it takes every misspelt name for an object

    def __getattr__(name: str) -> object:
        """Load the module of a public name when it is first used (PEP 562)."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with IMPORTING:
            value: object = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
