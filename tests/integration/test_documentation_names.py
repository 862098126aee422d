"""What the documentation names is there: commands, links, settings, tests."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from rmqpool.cli.main import app
from rmqpool.config import Settings
from tests.integration.pages import FENCE, NAMES, ROOT, Block, blocks_of

_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


_TEST_NAME = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<test>\w+)`")


def commands_of(block: Block) -> list[list[str]]:
    """The arguments of each `rmqpool` call in a block for the shell; settings before it and pipes around it are left out."""
    calls = []
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for part in _split(words, {"&&", "||", "|", ";"}):
            while part and re.fullmatch(r"\w+=.*", part[0]):
                part.pop(0)
            if part and part[0] == "rmqpool":
                calls.append(part[1:])
    return calls


def _split(words: list[str], separators: set[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in separators:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def parse_command(arguments: list[str]) -> None:
    """Parse a command line as `rmqpool` would, without running anything. Raises click's UsageError."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("rmqpool", list(arguments))
    while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
        _, command, remaining = command.resolve_command(context, rest)
        context = command.make_context(command.name, list(remaining), parent=context)


CALLS = [(block, call) for name in NAMES for block in blocks_of(name, "sh") for call in commands_of(block)]


@pytest.mark.parametrize(("block", "call"), CALLS, ids=[f"{block.file}:{' '.join(call)}" for block, call in CALLS])
def test_the_commands_are_known(block: Block, call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Command, options and arguments are those of the program."""
    with contextlib.suppress(typer.Exit):  # --version and --help end while they are parsed
        parse_command(call)


@pytest.mark.parametrize("call", [["wroker", "a:b"], ["worker", "a:b", "--concurency", "3"], ["publish"]])
def test_an_unknown_command_would_be_noticed(call: list[str]) -> None:
    """The check above can fail."""
    with pytest.raises(Exception, match=r"No such|Missing") as caught:
        parse_command(call)
    assert any(kind.__name__ == "UsageError" for kind in type(caught.value).__mro__)


def anchors_of(file: Path) -> set[str]:
    """The anchors that GitHub makes of a file's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", file.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_the_links_lead_somewhere(name: str) -> None:
    """Every relative link is a file or folder of the project, and its anchor a heading there."""
    file = ROOT / name
    for match in _LINK.finditer(FENCE.sub("", file.read_text())):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = (file.parent / target).resolve() if target else file
        assert linked.exists(), f"{name} links to {target}, which is not there"
        assert linked.is_relative_to(ROOT), f"{name} links out of the project: {target}"
        assert not anchor or anchor in anchors_of(linked), f"{name} links to #{anchor}, which {target} has not"


def rows_of(name: str) -> list[list[str]]:
    """The cells of every row of every table in a file."""
    rows = [line for line in (ROOT / name).read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_the_readme_lists_each_page_once() -> None:
    """And leaves none out."""
    _, _, listed = (ROOT / "README.md").read_text().partition("## Documentation")
    targets = [match["target"] for match in _LINK.finditer(listed)]
    assert sorted(targets) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))


def test_the_settings_are_documented_as_they_are() -> None:
    """Each name with its variable and its default, in the order of the code, and no others."""
    documented = [tuple(cell.strip("`") for cell in row[:3]) for row in rows_of("docs/reference/settings.md")[1:]]
    assert documented == [
        (name, f"RMQPOOL_{name.upper()}", default_of(name, field.default))
        for name, field in Settings.model_fields.items()
    ]


def default_of(name: str, default: Any) -> str:
    """A default as the table says it."""
    if default is None:
        return "none"
    if name == "url":
        return str(default.reveal())
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_the_fault_matrix_names_tests_that_exist() -> None:
    """Each row names at least one; that each is there is tested for all pages."""
    for row in rows_of("docs/explanation/faults.md")[1:]:
        named = list(_TEST_NAME.finditer(row[-1]))
        assert named, f"row {row[0]} names no test"


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_that_are_named_exist(name: str) -> None:
    """On every page."""
    for match in _TEST_NAME.finditer((ROOT / name).read_text()):
        assert match["test"] in functions_of(ROOT / match["file"]), f"{match['file']} has no {match['test']}"


def test_the_fault_matrix_forgets_no_file() -> None:
    """Each file of fault tests stands in it."""
    matrix = (ROOT / "docs/explanation/faults.md").read_text()
    files = [f"tests/faults/{file.name}" for file in sorted((ROOT / "tests/faults").glob("test_*.py"))]
    assert files
    assert [file for file in files if f"`{file}::" not in matrix] == []


def functions_of(file: Path) -> set[str]:
    """The names of all functions in a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)}


# The kinds of pools that a test of resources is for, by the fixture that makes its pools.
_KINDS = {
    "make": "threads, asyncio", "make_null": "null", "make_of_things": "all but channels", "make_with_idle": "all but null",
    "make_any": "all",
}  # fmt: skip


def test_each_promise_of_a_pool_is_for_the_kinds_that_its_test_is_for() -> None:
    """The first test of each row has its name, and runs for the kinds that the row says."""
    rows = [row for row in rows_of("docs/explanation/pool-promises.md") if row[0] != "psycopg_pool"]
    assert len(rows) > 50
    for names, _, kinds, tests in rows:
        named = [(match["file"], match["test"].removeprefix("test_")) for match in _TEST_NAME.finditer(tests)]
        if not named:
            continue  # what a type checker says
        assert {test for _, test in named} & set(names.split(", ")), f"no test of {names} has its name"
        file, test = named[0]
        makes = {
            argument.arg
            for node in ast.walk(ast.parse((ROOT / file).read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == f"test_{test}"
            for argument in node.args.args
        } & set(_KINDS)
        assert {_KINDS[make] for make in makes} <= {kinds}, f"{names}: the test is for others than the page says"
