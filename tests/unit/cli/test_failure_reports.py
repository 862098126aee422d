"""From errors to what is told of them."""

from __future__ import annotations

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError, failure_of
from rmqpool.errors import ConnectionFailedError, PoolTimeoutError


def test_a_pools_timeout_is_told_as_the_connection_error_behind_it() -> None:
    """People want to know what is wrong with the host, not that a pool waited."""
    cause = ConnectionFailedError("cannot connect to h:1", host="h", port=1, stage="tcp")
    error = PoolTimeoutError("connection x is not ready")
    error.__cause__ = cause
    told = failure_of(error)
    assert (told.kind, told.message, told.exit_code) == ("ConnectionFailedError", str(cause), ExitCode.CONNECTION)
    assert told.as_json()["error"]["stage"] == "tcp"


def test_a_reported_error_keeps_its_kind_code_and_facts() -> None:
    """What the command line itself finds has a name of its own for machines."""
    error = ReportedError("no", kind="InputError", exit_code=ExitCode.INPUT, detail="more", facts={"line": 3})
    assert failure_of(error).as_json() == {
        "ok": False,
        "error": {"type": "InputError", "message": "no", "exit_code": 5, "line": 3, "detail": "more"},
    }
