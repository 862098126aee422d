"""Where an option belongs that was given before its command."""

from __future__ import annotations

import pytest
from typer.main import get_command

from rmqpool.cli.main import app
from rmqpool.cli.misplaced import right_place


@pytest.mark.parametrize(
    ("arguments", "option", "place"),
    [
        (["--json", "publish", "orders"], "--json", "rmqpool publish --json"),
        (["--json", "config", "show"], "--json", "rmqpool config show --json"),
        (["--rate", "5", "check", "publish"], "--rate", ""),
        (["--json"], "--json", ""),
        (["--json", "config"], "--json", ""),
        ([], "--json", ""),
    ],
)
def test_the_command_on_the_line_says_whether_the_option_is_its_own(
    arguments: list[str], option: str, place: str
) -> None:
    """Options of other commands are no help; arguments of a command are not taken for commands."""
    assert right_place(get_command(app), "rmqpool", option, arguments) == place
