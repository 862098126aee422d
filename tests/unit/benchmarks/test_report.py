"""benchmarks/report.py: figures survive the way to a file and back."""

import dataclasses
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.report import Footprint, Recovery, Report, Startup


def test_a_report_is_read_as_it_was_written(tmp_path: Path, make_report) -> None:  # type: ignore[no-untyped-def]
    """Every figure comes back, and the folder is made."""
    report = dataclasses.replace(
        make_report(one={"rmqpool publish": 1.5, "kombu": None}, many={}),
        recovery=Recovery(5.0, (0.5,), (0.25,)),
        footprint=Footprint((Startup("import pika", (0.1,)),), 1),
        problems=("one: it hung",),
    )
    path = tmp_path / "results" / "latest.json"
    report.write(path)
    assert Report.read(path) == report


def test_a_file_with_something_else_is_refused(tmp_path: Path) -> None:
    """Figures of another shape are not shown as if they were none."""
    path = tmp_path / "other.json"
    path.write_text('{"mode": "quick"}')
    with pytest.raises(ValidationError):
        Report.read(path)
