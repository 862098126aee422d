"""The laws of the ledger for ten minutes of random events: what the short run in the suite has not met."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.core.test_ledger_laws import LedgerMachine

MINUTES = float(os.environ.get("RMQPOOL_SOAK_MINUTES", "10"))


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_ten_minutes_of_events_break_no_law() -> None:
    """Rounds of new random sequences, longer ones than in the suite, until the time is over."""
    end = time.monotonic() + MINUTES * 60
    rounds = settings(
        max_examples=300,
        stateful_step_count=100,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    while time.monotonic() < end:
        run_state_machine_as_test(LedgerMachine, settings=rounds)
