"""Exit codes: one for each kind of failure."""

from __future__ import annotations

import pytest

from rmqpool import errors
from rmqpool.cli.exits import EXIT_CODES_HELP, ExitCode, exit_code_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("x"), ExitCode.CONFIGURATION),
        (errors.AuthenticationError("x"), ExitCode.CONNECTION),
        (errors.TLSError("x"), ExitCode.CONNECTION),
        (errors.PoolTimeoutError("x"), ExitCode.CONNECTION),
        (errors.ConnectionLostError("x"), ExitCode.CONNECTION),
        (errors.MessageTooLargeError("x"), ExitCode.INPUT),
        (errors.AccessRefusedError("x"), ExitCode.REFUSED),
        (errors.TopologyMismatchError("x"), ExitCode.REFUSED),
        (errors.ChildStartError("x"), ExitCode.PROBLEMS),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (RuntimeError("x"), ExitCode.INTERNAL),
    ],
)
def test_each_error_has_its_code(error: BaseException, code: ExitCode) -> None:
    """The class decides."""
    assert exit_code_of(error) is code


def test_the_codes_are_distinct_and_told() -> None:
    """Every code but a broken pipe's is in the help."""
    assert len({int(code) for code in ExitCode}) == len(list(ExitCode))
    told = {int(line.split()[0]) for line in EXIT_CODES_HELP.splitlines()[2:]}
    assert told == {int(code) for code in ExitCode} - {ExitCode.BROKEN_PIPE}
