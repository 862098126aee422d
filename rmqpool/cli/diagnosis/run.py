"""The whole examination, in order: what fails early is told once, and what stands on it is skipped."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

from rmqpool.cli.diagnosis.agreement import check_limits, check_version
from rmqpool.cli.diagnosis.certificate import check_files, look_at_certificate
from rmqpool.cli.diagnosis.connecting import Attempt, attempt, findings_of
from rmqpool.cli.diagnosis.finding import Finding, State, problem, skipped
from rmqpool.cli.diagnosis.pooling import look_at_pool
from rmqpool.cli.diagnosis.probing import probe
from rmqpool.cli.diagnosis.queues import look_at_queues, not_reached
from rmqpool.errors import RmqpoolError
from rmqpool.pool import ConnectionPool
from rmqpool.pool_events import PoolEvent, PoolEventKind
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Queue

__all__ = ["examine"]

_OPEN = 10.0  # seconds
_LEASE = 30.0  # seconds: no lease of the doctor's lasts longer


def examine(settings: ConnectionSettings, queues: Sequence[Queue], tell: Callable[[Finding], None]) -> str:
    """Look at every host, then at the broker behind the first that lets us in; ``tell`` gets each finding at once.

    Returns the broker's product and version, empty if none was reached.
    """
    if settings.tls is not None:
        files = check_files(settings.tls)
        for finding in files:
            tell(finding)
        if any(finding.state is State.PROBLEM for finding in files):
            return ""
    attempts = [_look_at_host(settings, host, tell) for host in settings.hosts]
    reached = next((result for result in attempts if result.error is None), None)
    if reached is None:
        for finding in [skipped("broker", "not reached"), *not_reached(queues, "the broker was not reached")]:
            tell(finding)
        return ""
    tell(check_version(reached.broker))
    if reached.negotiated is not None:
        for finding in check_limits(reached.negotiated, settings):
            tell(finding)
    _look_inside(reached.settings, queues, tell)
    return reached.broker


def _look_at_host(settings: ConnectionSettings, host: tuple[str, int], tell: Callable[[Finding], None]) -> Attempt:
    result = attempt(settings, host)
    several = f"{host[0]}:{host[1]}: " if len(settings.hosts) > 1 else ""
    for finding in findings_of(result):
        tell(dataclasses.replace(finding, text=several + finding.text) if finding.state is State.PROBLEM else finding)
    failed_before_tls = result.error is not None and getattr(result.error, "stage", "") in ("dns", "tcp")
    if not failed_before_tls:
        for finding in look_at_certificate(result.settings):
            tell(finding)
    return result


def _look_inside(settings: ConnectionSettings, queues: Sequence[Queue], tell: Callable[[Finding], None]) -> None:
    blocked = threading.Event()

    def listen(event: PoolEvent) -> None:
        if event.kind is PoolEventKind.BLOCKED:
            blocked.set()

    pool = ConnectionPool(
        settings, name="rmqpool doctor", channels_per_connection=1, leak_after=_LEASE, on_event=listen
    )
    try:
        pool.open(timeout=_OPEN)
        for finding in [*probe(pool, blocked, named_queues=bool(queues)), *look_at_queues(pool, queues)]:
            tell(finding)
        tell(look_at_pool(pool))
    except RmqpoolError as error:
        tell(problem("broker", f"the connection did not last: {error}"))
    finally:
        pool.close(timeout=1.0)
