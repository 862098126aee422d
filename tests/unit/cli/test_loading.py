"""MODULE:WORKER as a text."""

from __future__ import annotations

import pytest

from rmqpool.cli.loading import nearest, parse_path
from rmqpool.errors import ConfigurationError


def test_a_path_has_a_module_and_an_attribute() -> None:
    """Both may be dotted."""
    assert parse_path("workers.orders:shop.worker") == ("workers.orders", "shop.worker")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("workers.orders", r"did you mean workers.orders:worker\?"),
        ("workers/orders.py", r"did you mean workers.orders:worker\?"),
        ("workers/orders.py:app", r"did you mean workers.orders:app\?"),
        ("./orders.py:app", r"did you mean orders:app\?"),
        ("", "package.module:worker"),
        (":worker", "package.module:worker"),
        ("a b:worker", "package.module:worker"),
    ],
)
def test_anything_else_is_told_with_what_to_write(path: str, told: str) -> None:
    """File names become module names."""
    with pytest.raises(ConfigurationError, match=told):
        parse_path(path)


def test_the_nearest_name_is_suggested_or_none() -> None:
    """A far one would only confuse."""
    assert nearest("workr", ["worker", "number"]) == "; did you mean worker?"
    assert nearest("xyz", ["worker"]) == ""
