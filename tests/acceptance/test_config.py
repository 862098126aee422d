"""``rmqpool config show``."""

from __future__ import annotations

from pathlib import Path

import pytest
from prepared import Prepared

from tests.acceptance.conftest import Run, on_a_terminal


def test_each_setting_is_shown_with_its_source_and_without_secrets(rmqpool: Run, tmp_path: Path) -> None:
    """Argument, environment, pyproject.toml and default are told apart; the password never shows."""
    (tmp_path / "pyproject.toml").write_text("[tool.rmqpool]\ngrace = 7\nheartbeat = 9\n")
    ended = rmqpool(
        "config",
        "show",
        "--json",
        env={"RMQPOOL_HEARTBEAT": "11", "RMQPOOL_URL": "amqp://me:hunter2secret@broker/shop"},
    )
    settings = ended.json["settings"]
    assert ended.code == 0
    assert settings["heartbeat"] == {"value": "11", "source": "environment RMQPOOL_HEARTBEAT"}
    assert settings["grace"]["value"] == "7.0"
    assert "pyproject.toml" in settings["grace"]["source"]
    assert settings["timeout"]["source"] == "default"
    assert "hunter2secret" not in ended.text
    assert "broker" in settings["url"]["value"]


def test_an_argument_wins_over_the_environment(inline: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--url is stronger than RMQPOOL_URL."""
    monkeypatch.setenv("RMQPOOL_URL", "amqp://two/")
    ended = inline("config", "show", "--url", "amqp://one/")
    assert "amqp://guest:**********@one:5672/%2F\targument" in ended.out


def test_on_a_terminal_the_columns_are_aligned(commands: Prepared, tmp_path: Path) -> None:
    """As all tables are; tabs are for pipes."""
    code, shown = on_a_terminal(commands, ["config", "show"], tmp_path, "stdout")
    lines = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in shown.splitlines()]
    value, source = lines[0].index("value"), lines[0].index("source")
    assert code == 0
    assert "\t" not in shown
    assert all(line[value - 1] == line[source - 1] == " " != line[value] and line[source:] for line in lines)
    assert lines[1][source:].strip() == "default"


def test_a_wrong_setting_is_a_sentence_with_its_source(rmqpool: Run) -> None:
    """A value that makes no sense is exit code 3, and told with the variable that holds it."""
    ended = rmqpool("config", "show", env={"RMQPOOL_HEARTBEAT": "soon"})
    assert ended.code == 3
    assert "RMQPOOL_HEARTBEAT" in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_variable_is_a_warning_in_one_line(rmqpool: Run) -> None:
    """RMQPOOL_HARTBEAT is told, with what it may have meant, and stops nothing."""
    ended = rmqpool("config", "show", env={"RMQPOOL_HARTBEAT": "5"})
    assert ended.code == 0
    assert ended.err.count("RMQPOOL_HARTBEAT") == 1
    assert "RMQPOOL_HEARTBEAT" in ended.err
