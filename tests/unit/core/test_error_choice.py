"""Exceptions are named by class, or chosen by a function; nothing else is taken."""

from __future__ import annotations

from typing import Any

import pytest

from rmqpool.core.error_choice import chooses, classes_of, error_choice
from rmqpool.errors import ConfigurationError


@pytest.mark.parametrize(
    ("on", "error", "chosen"),
    [
        (OSError, ConnectionError(), True),
        (OSError, ValueError(), False),
        ((OSError, ValueError), ValueError(), True),
        (lambda error: "busy" in str(error), ValueError("busy"), True),
        (lambda error: "busy" in str(error), ValueError("wrong"), False),
        (lambda error: 1, ValueError(), True),
    ],
)
def test_classes_and_functions_choose(on: Any, error: BaseException, chosen: bool) -> None:
    """A class stands for its subclasses; a function's answer for itself."""
    assert chooses(error_choice("x", on), error) is chosen


@pytest.mark.parametrize("on", [None, (), "OSError", int, (OSError, int), OSError()])
def test_anything_else_is_refused(on: Any) -> None:
    """A class that is no exception would be called as a function, and say yes to all."""
    with pytest.raises(ConfigurationError, match=r"^bank: on is .*give exception classes"):
        error_choice("bank", on)


def test_the_named_classes_are_known() -> None:
    """None are for a function."""
    assert classes_of(OSError) == (OSError,)
    assert classes_of((OSError, ValueError)) == (OSError, ValueError)
    assert classes_of(lambda error: True) == ()
