"""Permissions and alarms, by trying: a throw-away queue is declared, written to, read and deleted.

RabbitMQ tells a connection of an alarm (connection.blocked) only when it publishes: so a message is published on a
connection that is used for nothing else. https://www.rabbitmq.com/docs/connection-blocked
"""

from __future__ import annotations

import secrets
import threading

from rmqpool.cli.diagnosis.finding import Finding, problem, skipped, warning, well
from rmqpool.errors import (
    AccessRefusedError,
    ConnectionLostError,
    NotSentError,
    PublishAccessRefusedError,
    PublishError,
    RmqpoolError,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import Publisher

__all__ = ["probe"]

_CALL = 5.0  # seconds for each call
_CONFIRM = 3.0  # seconds for the confirm of one small message
_EXPIRES = 60_000  # milliseconds


def probe(pool: ConnectionPool, blocked: threading.Event, *, named_queues: bool) -> list[Finding]:
    """Declare, write, read; then the alarms that the write told of. ``blocked`` is set when the broker blocks one of the
    pool's connections; ``named_queues``: real ones are looked at as well.

    The queue is exclusive and dies with its connection, also if this process is killed. An agent shares its connections, and
    lets none of them own a queue: there it expires after a minute.
    """
    name = f"rmqpool.doctor.{secrets.token_hex(6)}"
    declared = _declare(pool, name, named_queues=named_queues)
    is_there = declared.state.value == "ok"
    written, alarms = _write(pool, name, blocked)
    read = _read(pool, name) if is_there else skipped("read", "not tried: there is no throw-away queue to read from")
    findings = [declared, written, read, alarms]
    if is_there:
        findings.extend(_delete(pool, name))
    return findings


def _declare(pool: ConnectionPool, name: str, *, named_queues: bool) -> Finding:
    told = "may declare queues (configure permission)"
    try:
        with pool.channel(_CALL) as channel:
            if pool.settings.socket_path is None:
                channel.queue_declare(name, durable=False, exclusive=True, auto_delete=True, timeout=_CALL)
            else:
                channel.queue_declare(name, durable=True, arguments={"x-expires": _EXPIRES}, timeout=_CALL)
    except AccessRefusedError:
        kind = warning if named_queues else problem
        return kind(
            "declare",
            f"{_user(pool)} may not declare a queue named {name} (configure permission)",
            f"widen it ({_granting(pool)}); if its pattern allows your "
            "own names only, look at those: --queue NAME or --module",
        )
    except RmqpoolError as error:
        return problem("declare", f"a throw-away queue could not be declared: {error}")
    return well("declare", f"{_user(pool)} {told}")


def _write(pool: ConnectionPool, name: str, blocked: threading.Event) -> tuple[Finding, Finding]:
    """Publishing tells of two things: the write permission, and alarms."""
    no_alarm = well("alarms", "none: the broker takes messages")
    good = well("write", f"{_user(pool)} may publish to the default exchange (write permission)")
    try:
        future = Publisher(pool).submit(name, b"rmqpool doctor", timeout=_CONFIRM, persistent=False, retry=False)
        future.add_done_callback(lambda _: blocked.set())
        blocked.wait(_CONFIRM)
        if not future.done() and pool.stats().blocked is not None:
            return _blocked(pool)
        future.result()
    except UnroutableError:
        return good, no_alarm  # permitted; there was no queue because the user may not declare one
    except PublishAccessRefusedError:
        refused = problem(
            "write",
            f"{_user(pool)} may not publish to the default exchange (write permission for amq.default)",
            f"grant it ({_granting(pool)}), or publish to an exchange that the user may write to",
        )
        return refused, no_alarm
    except (NotSentError, UnknownOutcomeError) as error:
        return _unanswered(pool, error)
    except PublishError as error:
        return problem("write", str(error)), no_alarm
    return good, no_alarm


def _unanswered(pool: ConnectionPool, error: PublishError) -> tuple[Finding, Finding]:
    if pool.stats().blocked is not None:
        return _blocked(pool)
    unknown = skipped("alarms", "not known: no confirm came")
    return problem("write", f"no confirm within {_CONFIRM:g} s: {error}"), unknown


def _blocked(pool: ConnectionPool) -> tuple[Finding, Finding]:
    reason = pool.stats().blocked
    return skipped("write", "not known: the broker blocks publishing"), problem(
        "alarms",
        f"the broker blocks publishing: {reason}",
        "free memory or disk on the broker, or raise vm_memory_high_watermark / lower disk_free_limit; consumers go on",
        reason=reason,
    )


def _read(pool: ConnectionPool, name: str) -> Finding:
    try:
        with pool.channel(_CALL) as channel:
            channel.basic_get(name, auto_ack=True, timeout=_CALL)
    except AccessRefusedError:
        return problem(
            "read",
            f"{_user(pool)} may not read from a queue named {name} (read permission)",
            f"grant it: {_granting(pool)}",
        )
    except RmqpoolError as error:
        return problem("read", f"the throw-away queue could not be read: {error}")
    return well("read", f"{_user(pool)} may consume (read permission)")


def _user(pool: ConnectionPool) -> str:
    return "the agent's user" if pool.settings.socket_path is not None else f"user {pool.settings.user!r}"


def _granting(pool: ConnectionPool) -> str:
    """The command that gives permissions."""
    user, vhost = pool.settings.user, pool.settings.vhost
    if pool.settings.socket_path is not None:
        user, vhost = "USER", "VHOST"  # only the agent knows them
    return f"rabbitmqctl set_permissions -p {vhost} {user} CONFIGURE WRITE READ"


def _delete(pool: ConnectionPool, name: str) -> list[Finding]:
    """Only a failure is worth a finding."""
    try:
        with pool.channel(_CALL) as channel:
            channel.queue_delete(name, timeout=_CALL)
    except ConnectionLostError:
        return []  # it goes by itself
    except RmqpoolError as error:
        return [warning("declare", f"the throw-away queue could not be deleted, and goes by itself: {error}")]
    return []
