"""Whether the broker that an outbox' relays publish to lets us in: one finding, whatever is wrong with it."""

from __future__ import annotations

from rmqpool.cli.diagnosis.connecting import attempt
from rmqpool.cli.diagnosis.finding import Finding, problem, well
from rmqpool.settings import ConnectionSettings

__all__ = ["broker_finding"]


def broker_finding(settings: ConnectionSettings) -> Finding:
    """Try the hosts in turn, until one lets us in. Raises nothing but what is a fault of ours."""
    failures = []
    for host, port in settings.hosts:
        result = attempt(settings, (host, port))
        if result.error is None:
            return well("broker", f"{result.broker or 'the broker'} at {host}:{port} lets us in", broker=result.broker)
        failures.append(f"{host}:{port}: {result.error}")
    return problem("broker", f"no broker: {'; '.join(failures)}", "rmqpool doctor looks at it stage by stage")
