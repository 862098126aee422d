"""A misspelt option of ours is known by the error that Python raises for it."""

from __future__ import annotations

import pytest

from rmqpool import Queue, RetryPolicy, Worker
from rmqpool.cli.keywords import misspelt_keyword


@pytest.mark.parametrize(
    ("called", "wrong", "right"),
    [
        (Worker("w").consumer, "concurency", "concurrency"),
        (RetryPolicy, "max_retries", "max_attempts"),
        (Queue, "typ", "type"),
        (Worker, "midleware", "middleware"),
    ],
)
def test_the_options_of_what_was_called_are_found(called: type, wrong: str, right: str) -> None:
    """Functions, methods, classes; Python 3.13 and later suggest one themselves."""
    with pytest.raises(TypeError) as caught:
        called(**{wrong: 3})
    found = misspelt_keyword(caught.value)
    assert (found is None and "Did you mean" in str(caught.value)) or (
        found and found[0] == wrong and right in found[1]
    )


@pytest.mark.parametrize(
    "error",
    [
        TypeError("charge() got an unexpected keyword argument 'x'"),
        TypeError("Worker.consumer() takes 2 positional arguments"),
        ValueError("Worker() got an unexpected keyword argument 'x'"),
    ],
)
def test_other_errors_are_none_of_ours(error: Exception) -> None:
    """The user's own functions, and other mistakes."""
    assert misspelt_keyword(error) is None
