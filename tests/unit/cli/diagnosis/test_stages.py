"""From one attempt to a finding for each stage."""

from __future__ import annotations

import pytest

from rmqpool.cli.diagnosis.connecting import Attempt, findings_of
from rmqpool.cli.diagnosis.finding import exit_state, problem, render, warning, well
from rmqpool.errors import (
    AuthenticationError,
    ConnectionFailedError,
    RmqpoolError,
    TLSError,
    VirtualHostAccessError,
    VirtualHostNotFoundError,
)
from rmqpool.settings import ConnectionSettings
from rmqpool.tls import TLSSettings

PLAIN = ConnectionSettings()
SECURE = ConnectionSettings(tls=TLSSettings())


@pytest.mark.parametrize(
    ("error", "settings", "states"),
    [
        (None, PLAIN, "ok ok ok ok ok"),
        (ConnectionFailedError("x: y", stage="dns"), PLAIN, "problem skipped skipped skipped skipped"),
        (ConnectionFailedError("x: y", stage="tcp"), SECURE, "ok problem skipped skipped skipped skipped"),
        (TLSError("x: y", stage="tls"), SECURE, "ok ok problem skipped skipped skipped"),
        (ConnectionFailedError("x: y", stage="amqp"), PLAIN, "ok ok problem skipped skipped"),
        (AuthenticationError("x: y", stage="amqp"), PLAIN, "ok ok ok problem skipped"),
        (VirtualHostNotFoundError("x: y", stage="amqp"), PLAIN, "ok ok ok ok problem"),
        (VirtualHostAccessError("x: y", stage="amqp"), PLAIN, "ok ok ok ok problem"),
    ],
)
def test_stages_before_the_error_are_well_and_those_after_it_were_not_reached(
    error: RmqpoolError | None, settings: ConnectionSettings, states: str
) -> None:
    """The error's own stage is the problem, with what to do."""
    findings = findings_of(Attempt(settings, error, "RabbitMQ 4.1.0"))
    assert " ".join(finding.state for finding in findings) == states
    assert exit_state(findings) is (error is None)
    assert all(finding.advice == "y" for finding in findings if finding.state == "problem")


def test_findings_are_drawn_with_words_or_symbols() -> None:
    """Words in files, symbols on terminals; what to do comes below."""
    assert render(well("tcp", "good"), symbols=False) == ("ok     ", "tcp        ", ["good"])
    assert render(problem("tcp", "bad", "do it"), symbols=True) == ("✗", "tcp        ", ["bad", "→ do it"])
    assert exit_state([warning("x", "y")])
