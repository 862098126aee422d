"""docs/reference/cli.md and the program name the same commands, options and exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.main import app

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()
NOT_IN_A_SECTION = {"--help", "--json", "--url"}  # told for all commands, or for all of a group


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    for name, one in inner.items():
        yield from commands(one, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def options_of(command: Any) -> set[str]:
    """The long names of its options."""
    return {
        name
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    }


def section_of(name: str) -> str:
    """The page's section about a command or its group."""
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    return sections.get(name) or sections[name.split()[0]]


def synopsis_of(name: str) -> str:
    """The lines of the page that show how it is called."""
    shown = re.findall(rf"^rmqpool {name}\b.*(?:\n {{8,}}.*)*", section_of(name), re.MULTILINE)
    assert shown, f"the page does not show how {name} is called"
    return "\n".join(shown)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_page_shows_is_there(name: str) -> None:
    """Each option of the synopsis is one of the program's."""
    assert set(re.findall(r"--[a-z][a-z-]*", synopsis_of(name))) <= options_of(COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_there_is_on_the_page(name: str) -> None:
    """Each option stands in the synopsis, or in the text or a table of the section."""
    told = set(re.findall(r"--[a-z][a-z-]*", section_of(name)))
    missing = {
        option
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option" and not told.intersection((*parameter.opts, *parameter.secondary_opts))
        for option in parameter.opts
        if option.startswith("--")
    }
    assert missing <= NOT_IN_A_SECTION


def test_what_means_the_same_has_the_same_name() -> None:
    """No two options of different commands have one help text and two names."""
    names: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.help:
                names.setdefault(parameter.help, set()).add(parameter.opts[0])
    assert {text: found for text, found in names.items() if len(found) > 1} == {}


def test_the_exit_codes_are_those_of_the_program() -> None:
    """All of them; those of signals are the shell's."""
    table = PAGE.partition("### Exit codes")[2].partition("\n## ")[0]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert {int(code) for code in ExitCode} <= told
    assert told - {int(code) for code in ExitCode} == {143}
