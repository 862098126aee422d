"""What holds for every command: help, version, exit codes of mistakes, JSON, colour, completion."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Run, environment

COMMANDS = (
    (),
    ("worker",),
    ("publish",),
    ("queues",),
    ("doctor",),
    ("check",),
    ("config",),
    ("config", "show"),
)
_HEAVY = ("pika", "kombu", "rich", "asyncio", "rmqpool.pool", "rmqpool.config")


def test_every_command_has_help_with_an_example_and_loads_nothing_heavy() -> None:
    """The help of all commands comes from one process that never imports the engine."""
    code = (
        "import sys, io, contextlib\n"
        "from rmqpool.cli.main import run\n"
        f"for command in {COMMANDS!r}:\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out):\n"
        "        assert run([*command, '--help']) == 0, command\n"
        "    assert command == ('config',) or 'Example' in out.getvalue(), command\n"
        f"print([name for name in {_HEAVY!r} if name in sys.modules])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "[]"), ended.stderr


def test_the_list_of_commands_loads_none_of_them() -> None:
    """``rmqpool --help`` and ``--version`` answer at once: they import Typer and what they say, and nothing else."""
    code = (
        "import sys, io, contextlib\n"
        "from rmqpool.cli.main import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert (run(['--help']), run(['--version'])) == (0, 0)\n"
        f"print([name for name in {(*_HEAVY, 'psycopg', 'pydantic', 'tenacity')!r} if name in sys.modules])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('rmqpool.cli.')))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=30, check=False
    )
    parts = ("commands", "exits", "failures", "main", "misplaced", "terminal")
    assert ended.stdout.splitlines() == ["[]", " ".join(f"rmqpool.cli.{part}" for part in parts)], ended.stderr


def test_the_group_help_documents_the_exit_codes(rmqpool: Run) -> None:
    """Scripts can rely on what --help says."""
    out = rmqpool("--help").out
    assert all(f"\n    {code:<3}  " in out for code in (0, 1, 2, 3, 4, 5, 6, 70, 130))


def test_version(rmqpool: Run) -> None:
    """--version prints the version."""
    ended = rmqpool("--version")
    assert ended.code == 0
    assert ended.out.startswith("rmqpool ")


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(rmqpool: Run) -> None:
    """A typing error is told with what was probably meant."""
    ended = rmqpool("pubish", "orders", "x")
    assert ended.code == 2
    assert "publish" in ended.err
    assert "Traceback" not in ended.text


def test_a_usage_error_is_json_too(rmqpool: Run) -> None:
    """With --json even a wrong command line is one object on stdout."""
    ended = rmqpool("publish", "orders", "--json")
    assert ended.code == 2
    assert ended.json["error"]["type"] == "UsageError"
    assert ended.err == ""


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("--json", "publish", "orders", "x"), "rmqpool publish --json"),
        (("--url", "amqp://host/", "worker", "shop:worker"), "rmqpool worker --url"),
        (("--json", "config", "show"), "rmqpool config show --json"),
        (("config", "--json", "show"), "rmqpool config show --json"),
    ],
)
def test_an_option_before_its_command_is_told_where_it_stands(
    inline: Run, arguments: tuple[str, ...], place: str
) -> None:
    """Only the command knows its options."""
    ended = inline(*arguments)
    assert ended.code == 2
    assert f"It stands after the command: {place}." in ended.text


@pytest.mark.parametrize("arguments", [("--nonsense", "publish"), ("publish", "--nonsense"), ("--json",)])
def test_an_option_that_no_command_has_is_given_no_place(inline: Run, arguments: tuple[str, ...]) -> None:
    """A hint that does not help is none."""
    ended = inline(*arguments)
    assert ended.code == 2
    assert "stands after" not in ended.text


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://user:hunter2secret@@host/", "%40"),
        ("http://user:hunter2secret@host/", "amqp://"),
        ("amqp://user:hunter2secret@host/?hartbeat=5", "heartbeat"),
    ],
)
def test_a_wrong_url_is_one_sentence_that_repeats_no_password(inline: Run, url: str, told: str) -> None:
    """A URL is wrong: exit code 3, what to write instead, nothing of the password."""
    ended = inline("queues", "orders", "--url", url)
    assert ended.code == 3
    assert told in ended.err
    assert "hunter2secret" not in ended.text
    assert len(ended.err.strip().splitlines()) == 1


def test_completion_is_offered(rmqpool: Run) -> None:
    """The shell's completion protocol is answered with the commands."""
    ended = rmqpool(env={"_RMQPOOL_COMPLETE": "complete_bash", "COMP_WORDS": "rmqpool do", "COMP_CWORD": "1"})
    assert "doctor" in ended.out.split()


def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    """``rmqpool config show | head -0`` prints no traceback."""
    command = f"{sys.executable} -m rmqpool config show | true"
    ended = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment(), timeout=30, check=False
    )
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


def test_ctrl_c_is_told_in_a_word(inline: Run, tmp_path: Path) -> None:
    """Wherever it comes; with --json in an object."""
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt\n")
    ended = inline("check", "interrupted:worker")
    assert (ended.code, ended.err) == (130, "rmqpool: interrupted\n")
    assert inline("check", "interrupted:worker", "--json").json["error"]["type"] == "Interrupted"


def test_ctrl_c_while_the_command_is_loaded_shows_no_traceback() -> None:
    """On a busy machine that takes a second."""
    code = (
        "import sys\n"
        "class Hasty:\n"
        "    def find_spec(self, name, *others):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Hasty())\n"
        "from rmqpool.cli.entry import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "rmqpool: interrupted\n")
