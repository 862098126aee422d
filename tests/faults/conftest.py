"""What several fault tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prepared import Prepared

from faults.processes import WARNINGS, environment


@pytest.fixture(scope="session")
def prepared() -> Iterator[Prepared]:
    """Forks the programs that are about what they do, not about how an interpreter starts."""
    with Prepared(["faults.programs.relay", "faults.programs.migrate_queue"], WARNINGS, environment()) as server:
        yield server
