"""The two files of health, on a real file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rmqpool.errors import ConfigurationError
from rmqpool.health.files import HealthFiles
from rmqpool.health.values import Health

AWAY = Health(alive=True, ready=False, state="running")
READY = Health(alive=True, ready=True, state="running")
HANGS = Health(alive=False, ready=False, state="running")


def test_the_files_follow_the_health(tmp_path: Path) -> None:
    """A broker that is away makes it unready, not dead; at the end both are gone."""
    live, ready = tmp_path / "live", tmp_path / "ready"
    ready.touch()  # left by a run that was killed
    files = HealthFiles(live, ready)
    assert not ready.exists()
    for health in (READY, AWAY, READY, HANGS, READY):
        files.show(health)
        assert (live.exists(), ready.exists()) == (health.alive, health.ready)
    files.close()
    files.close()
    assert not live.exists()
    assert not ready.exists()


def test_the_live_file_is_touched_while_it_lives(tmp_path: Path) -> None:
    """Its age tells of a process that hangs as a whole."""
    live = tmp_path / "live"
    files = HealthFiles(live, None)
    files.show(AWAY)
    os.utime(live, (0, 0))
    files.show(HANGS)
    files.show(AWAY)
    assert live.stat().st_mtime > 1e9
    files.close()


def test_a_ready_file_that_somebody_removed_comes_again(tmp_path: Path) -> None:
    """As long as it is ready."""
    ready = tmp_path / "ready"
    files = HealthFiles(None, ready)
    files.show(READY)
    ready.unlink()
    files.show(READY)
    assert ready.exists()
    files.close()


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """At the start, not later."""
    with pytest.raises(ConfigurationError, match=r"cannot write .*/nowhere/live: No such file"):
        HealthFiles(tmp_path / "nowhere" / "live", None)


def test_no_probe_sees_a_file_before_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it can be written is found out without making it."""
    (tmp_path / "ready").touch()  # of an earlier run
    monkeypatch.setattr(Path, "touch", lambda self, *arguments, **options: pytest.fail(f"{self} was made"))
    HealthFiles(tmp_path / "live", tmp_path / "ready")
    assert list(tmp_path.iterdir()) == []
