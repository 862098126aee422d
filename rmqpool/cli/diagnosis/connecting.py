"""One attempt at each host, with the library's own connector: what fails here fails in the service too, for the same reason."""

from __future__ import annotations

import dataclasses
import ipaddress
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

from rmqpool.amqp.link import Link, LinkEvent
from rmqpool.cli.diagnosis.finding import Finding, problem, skipped, well
from rmqpool.errors import (
    AuthenticationError,
    ConnectionFailedError,
    RmqpoolError,
    VirtualHostAccessError,
    VirtualHostNotFoundError,
)
from rmqpool.settings import ConnectionSettings

__all__ = ["Attempt", "Negotiated", "attempt", "findings_of"]

_SPARE = 5.0  # seconds beyond the stages' own timeouts


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What client and broker agreed on: seconds, bytes, channels."""

    heartbeat: int
    frame_max: int
    channel_max: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended. ``broker`` is its product and version; ``error`` is None if it worked."""

    settings: ConnectionSettings
    error: RmqpoolError | None
    broker: str = ""
    negotiated: Negotiated | None = None
    seconds: float = 0.0


def attempt(settings: ConnectionSettings, host: tuple[str, int]) -> Attempt:
    """Open one connection to ``host`` and close it again. Raises nothing but what is a fault of ours."""
    single = dataclasses.replace(settings, hosts=(host,))
    answer: Future[Attempt] = Future()
    began = time.monotonic()

    def listen(event: LinkEvent, name: str, sentence: str) -> None:  # on the I/O thread
        if answer.done():
            return
        connection = link.connection
        if event is LinkEvent.CONNECTED and connection is not None:
            agreed = connection.params
            negotiated = Negotiated(agreed.heartbeat or 0, agreed.frame_max, agreed.channel_max)
            seconds = time.monotonic() - began
            answer.set_result(Attempt(single, None, link.status().broker, negotiated, seconds))
        elif event in (LinkEvent.CONNECT_FAILED, LinkEvent.FAULT):
            answer.set_result(Attempt(single, link.last_error or ConnectionFailedError(sentence, stage="amqp")))

    link = Link(single, "rmqpool doctor", listen)
    link.start()
    try:
        return answer.result(_longest(single))
    except FutureTimeoutError:
        return Attempt(single, ConnectionFailedError("no answer within the timeouts of all stages", stage="amqp"))
    finally:
        link.close(timeout=3.0)


def findings_of(result: Attempt) -> list[Finding]:
    """One finding a stage: those before the error's stage are well, those after it were not reached. Pure."""
    stages = ["dns", "tcp", *(["tls"] if result.settings.tls else []), "amqp", "password", "vhost"]
    if result.settings.socket_path is not None:  # the others are the agent's business
        stages = ["tcp", "amqp", "password"]
    error = result.error
    failed_at = None if error is None else _failed_stage(error)
    findings = []
    for stage in stages:
        if failed_at is None or stages.index(stage) < stages.index(failed_at):
            findings.append(well(stage, _good(stage, result)))
        elif stage == failed_at:
            sentence, _, advice = str(error).partition(": ")
            findings.append(problem(stage, sentence, advice))
        else:
            findings.append(skipped(stage, f"not reached: {failed_at} comes first"))
    return findings


def _failed_stage(error: RmqpoolError) -> str:
    if isinstance(error, AuthenticationError):
        return "password"
    if isinstance(error, VirtualHostNotFoundError | VirtualHostAccessError):
        return "vhost"
    stage = error.stage if isinstance(error, ConnectionFailedError) else ""
    return stage if stage in ("dns", "tcp", "tls") else "amqp"


def _good(stage: str, result: Attempt) -> str:
    settings = result.settings
    host, port = settings.hosts[0]
    if settings.socket_path is not None:
        return {
            "tcp": f"an agent listens at {settings.socket_path}: host, TLS, user and virtual host are its own (run doctor "
            "with its URL to look at them)",
            "amqp": f"{result.broker or 'the broker'} answers through the agent",
            "password": "the agent lets this process in",
        }[stage]
    return {
        "dns": f"{host} {'is an address: no look-up' if _is_address(host) else 'resolves'}",
        "tcp": f"{host}:{port} accepts connections",
        "tls": f"{host}:{port} speaks TLS"
        + (", its certificate is accepted" if settings.tls and settings.tls.verify else ""),
        "amqp": f"{result.broker or 'the broker'} speaks AMQP 0-9-1",
        "password": f"user {settings.user!r} is let in",
        "vhost": f"virtual host {settings.vhost!r} exists, and user {settings.user!r} may enter it",
    }[stage]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _longest(settings: ConnectionSettings) -> float:
    return settings.dns_timeout + 4 * settings.tcp_timeout + settings.tls_timeout + settings.amqp_timeout + _SPARE
