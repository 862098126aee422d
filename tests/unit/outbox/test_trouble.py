"""What a relay says in its log of what keeps it from working."""

from __future__ import annotations

import logging

import pytest

from rmqpool.outbox.trouble import TroubleLog


def test_trouble_is_told_at_once_and_again_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With what it is then; its end is told once. A relay tries several times a second."""
    caplog.set_level(logging.INFO)
    told = TroubleLog("r1", logging.getLogger("rmqpool.outbox.relay"))
    for seconds in range(100, 231):
        told.tell("no tables" if seconds < 150 else "no rights", float(seconds))
    told.tell("", 231.0)
    told.tell("", 232.0)
    assert [record.getMessage() for record in caplog.records] == [
        "r1: no tables",
        "r1: no rights",
        "r1: no rights",
        "r1 works again",
    ]
    assert told.trouble == ""
