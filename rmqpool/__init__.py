"""rmqpool: a RabbitMQ toolkit for Python services. The public names, and nothing else; each is loaded when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rmqpool.late_imports import IMPORTING
from rmqpool.version import __version__

if TYPE_CHECKING:
    from rmqpool.amqp.link_values import LinkEvent, LinkState, LinkStatus
    from rmqpool.async_publisher import AsyncPublisher
    from rmqpool.breaker import Breaker, BreakerStats
    from rmqpool.calls import CallOptions, Reply
    from rmqpool.config import Settings, load_settings
    from rmqpool.consumer import Consumer, ConsumerEvent, ConsumerStatus
    from rmqpool.core.autoscale import Autoscale
    from rmqpool.core.backoff import Backoff
    from rmqpool.core.breaker import BreakerPolicy, BreakerState
    from rmqpool.core.histogram import Times
    from rmqpool.core.prefetch import AdaptivePrefetch
    from rmqpool.core.retry import RetryPolicy
    from rmqpool.core.verdict import PoolHealth, PoolState, Symptom
    from rmqpool.errors import (
        AccessRefusedError,
        AuthenticationError,
        CallTimeoutError,
        ChannelClosedError,
        ChannelLimitError,
        ChildStartError,
        CircuitOpenError,
        CommitUnknownError,
        ConfigurationError,
        ConnectionFailedError,
        ConnectionLostError,
        DecodeError,
        EncodeError,
        ExchangeNotFoundError,
        InboxUnavailableError,
        LeaseReleasedError,
        MessageError,
        MessageTooLargeError,
        MigrationError,
        NackedError,
        NotFoundError,
        NotInTransactionError,
        NotSentError,
        OutboxError,
        OutboxSchemaError,
        PoolClosedError,
        PoolError,
        PoolTimeoutError,
        PreconditionFailedError,
        PublishAccessRefusedError,
        PublishError,
        PublishHeldBackError,
        PublishPreconditionError,
        RemoteError,
        ReplyError,
        ReplyLostError,
        ReplyTimeoutError,
        ResourceLockedError,
        RmqpoolError,
        TimeLimitExceededError,
        TLSError,
        TooManyWaitingError,
        TopologyMismatchError,
        UnknownOutcomeError,
        UnroutableError,
        UnsupportedConnectionError,
        VirtualHostAccessError,
        VirtualHostNotFoundError,
        WorkerError,
    )
    from rmqpool.future import PublishFuture
    from rmqpool.lease import LeasedChannel
    from rmqpool.lease_topology import QueueDeclared
    from rmqpool.message import Confirmation, Delivery, Message, Outcome, PublishReport
    from rmqpool.middleware import Middleware
    from rmqpool.pool import ConnectionPool
    from rmqpool.pool_events import PoolEvent, PoolEventKind
    from rmqpool.pool_manager import ManagerStats, PoolManager, TenantStats
    from rmqpool.pool_stats import PoolStats
    from rmqpool.publisher import MessageOptions, Publisher
    from rmqpool.resources import AsyncResourcePool, ResourcePool, ResourceStats
    from rmqpool.retries import Attempt, Retrying, retrying
    from rmqpool.settings import ConnectionSettings, Secret, TLSSettings
    from rmqpool.topology import Binding, Exchange, Queue, Topology
    from rmqpool.urls import parse_url
    from rmqpool.worker import BatchError, Postpone, Reject, Retry, Skip, Worker
    from rmqpool.worker.stats import WorkerStats

__all__ = [
    # publishing and consuming
    "AdaptivePrefetch",
    "AsyncPublisher",
    "AsyncResourcePool",
    "Autoscale",
    "Backoff",
    "BatchError",
    "ConnectionPool",
    "Consumer",
    "LeasedChannel",
    "ManagerStats",
    "Middleware",
    "PoolEvent",
    "PoolEventKind",
    "PoolHealth",
    "PoolManager",
    "PoolState",
    "PoolStats",
    "Symptom",
    "TenantStats",
    "Times",
    "Postpone",
    "PublishFuture",
    "Publisher",
    "Reject",
    "ResourcePool",
    "Retry",
    "RetryPolicy",
    "Skip",
    "Worker",
    # around calls that may fail
    "Attempt",
    "Breaker",
    "BreakerPolicy",
    "BreakerState",
    "BreakerStats",
    "Retrying",
    "retrying",
    # what they tell
    "ConsumerEvent",
    "ConsumerStatus",
    "LinkEvent",
    "LinkState",
    "LinkStatus",
    "QueueDeclared",
    "ResourceStats",
    "WorkerStats",
    # what travels
    "CallOptions",
    "Confirmation",
    "Delivery",
    "Message",
    "MessageOptions",
    "Outcome",
    "PublishReport",
    "Reply",
    # topology
    "Binding",
    "Exchange",
    "Queue",
    "Topology",
    # settings
    "ConnectionSettings",
    "Secret",
    "Settings",
    "TLSSettings",
    "load_settings",
    "parse_url",
    # errors
    "AccessRefusedError",
    "AuthenticationError",
    "CallTimeoutError",
    "ChannelClosedError",
    "ChannelLimitError",
    "ChildStartError",
    "CircuitOpenError",
    "CommitUnknownError",
    "ConfigurationError",
    "ConnectionFailedError",
    "ConnectionLostError",
    "DecodeError",
    "EncodeError",
    "ExchangeNotFoundError",
    "InboxUnavailableError",
    "LeaseReleasedError",
    "MessageError",
    "MessageTooLargeError",
    "MigrationError",
    "NackedError",
    "NotFoundError",
    "NotInTransactionError",
    "NotSentError",
    "OutboxError",
    "OutboxSchemaError",
    "PoolClosedError",
    "PoolError",
    "PoolTimeoutError",
    "PreconditionFailedError",
    "PublishAccessRefusedError",
    "PublishError",
    "PublishHeldBackError",
    "PublishPreconditionError",
    "RemoteError",
    "ReplyError",
    "ReplyLostError",
    "ReplyTimeoutError",
    "ResourceLockedError",
    "RmqpoolError",
    "TLSError",
    "TimeLimitExceededError",
    "TooManyWaitingError",
    "TopologyMismatchError",
    "UnknownOutcomeError",
    "UnroutableError",
    "UnsupportedConnectionError",
    "VirtualHostAccessError",
    "VirtualHostNotFoundError",
    "WorkerError",
    # the package
    "__version__",
]

_MODULES = {
    "amqp.link_values": ("LinkEvent", "LinkState", "LinkStatus"),
    "async_publisher": ("AsyncPublisher",),
    "breaker": ("Breaker", "BreakerStats"),
    "calls": ("CallOptions", "Reply"),
    "core.autoscale": ("Autoscale",),
    "core.backoff": ("Backoff",),
    "core.breaker": ("BreakerPolicy", "BreakerState"),
    "core.prefetch": ("AdaptivePrefetch",),
    "core.histogram": ("Times",),
    "core.retry": ("RetryPolicy",),
    "core.verdict": ("PoolHealth", "PoolState", "Symptom"),
    "config": ("Settings", "load_settings"),
    "consumer": ("Consumer", "ConsumerEvent", "ConsumerStatus"),
    "future": ("PublishFuture",),
    "lease": ("LeasedChannel",),
    "lease_topology": ("QueueDeclared",),
    "middleware": ("Middleware",),
    "message": ("Confirmation", "Delivery", "Message", "Outcome", "PublishReport"),
    "pool": ("ConnectionPool",),
    "pool_events": ("PoolEvent", "PoolEventKind"),
    "pool_manager": ("ManagerStats", "PoolManager", "TenantStats"),
    "pool_stats": ("PoolStats",),
    "publisher": ("MessageOptions", "Publisher"),
    "resources": ("AsyncResourcePool", "ResourcePool", "ResourceStats"),
    "retries": ("Attempt", "Retrying", "retrying"),
    "settings": ("ConnectionSettings", "Secret", "TLSSettings"),
    "topology": ("Binding", "Exchange", "Queue", "Topology"),
    "urls": ("parse_url",),
    "worker": ("BatchError", "Postpone", "Reject", "Retry", "Skip", "Worker"),
    "worker.stats": ("WorkerStats",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # a type checker that sees it takes every misspelt name for an object

    def __getattr__(name: str) -> object:
        """Load the module of a public name when it is first used (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with IMPORTING:
            value: object = getattr(importlib.import_module(f"rmqpool.{_HOME.get(name, 'errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
