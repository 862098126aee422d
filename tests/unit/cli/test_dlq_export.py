"""A file that an export could not finish is not taken for a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmqpool.cli.dlq_export import _output
from rmqpool.errors import ConnectionLostError


@pytest.mark.parametrize("remove", [True, False])
def test_a_file_that_was_not_finished_is_told(remove: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error itself says why; if messages were removed, the file may hold the only copy."""
    path = tmp_path / "dead.jsonl"

    def export() -> None:
        with _output(str(path), remove=remove) as file:
            file.write(b"{}\n")
            raise ConnectionLostError("the broker went away")

    with pytest.raises(ConnectionLostError):
        export()
    told = capsys.readouterr().err
    assert f"{path} is not complete" in told
    assert ("keep this one" in told) is remove
    assert path.read_bytes() == b"{}\n"
