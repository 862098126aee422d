"""Options that several commands share are defined once."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from rmqpool.cli.option_groups import with_option_groups

Where = Annotated[str | None, typer.Option("--where")]


@dataclass(frozen=True)
class Choice:
    """Two options."""

    where: Where = None
    newest: bool = False


def test_a_group_becomes_its_options_in_its_place_and_comes_back_as_a_value() -> None:
    """Typer sees options; the command gets the dataclass."""
    got: list[object] = []

    def ls(queue: str, *, choice: Choice, limit: int = 50) -> None:
        """List them."""
        got.append((queue, choice, limit))

    command = with_option_groups(ls)
    assert list(inspect.signature(command).parameters) == ["queue", "where", "newest", "limit"]
    assert inspect.signature(command).parameters["where"].annotation == Where
    assert (command.__name__, command.__doc__) == ("ls", "List them.")
    command(queue="orders", where="age > 3", newest=False, limit=7)
    assert got == [("orders", Choice("age > 3"), 7)]


def test_an_option_that_is_there_twice_is_refused() -> None:
    """One of them would be lost without a word."""

    def ls(*, choice: Choice, where: Where = None) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'where'"):
        with_option_groups(ls)
