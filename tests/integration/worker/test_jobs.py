"""Jobs that fail in every way, through retries in child processes: each ends where the policy says, once."""

from pathlib import Path

import pytest

from tests.integration.worker.conftest import Bench
from tests.integration.worker.job_plan import SCRIPTS, ending_of
from tests.integration.worker.jobs import run_jobs


@pytest.mark.timeout(120)
def test_jobs_that_fail_in_every_way_end_where_the_policy_says(bench: Bench, tmp_path: Path) -> None:
    """Exceptions, time limits, segfaults, bodies that cannot be decoded, poison: counted by message, `make jobs` does 10,000."""
    print(run_jobs(bench, tmp_path, 100, concurrency=4, timeout=90))  # each way once


def test_the_plan_of_the_jobs_is_what_the_documentation_promises() -> None:
    """By hand, for each way to fail, with three attempts and two children that one message may kill."""
    told = {number: ending_of(number, max_attempts=3, poison_after=2) for number in SCRIPTS}
    assert {number: (ending.calls, ending.reason, ending.attempt) for number, ending in told.items()} == {
        3: ((1, 2, 3), "exception", 3),
        13: ((1, 2, 3), "", 0),
        23: ((1, 2, 3), "time-limit", 3),
        33: ((1, 2), "", 0),
        43: ((1, 1), "poison:signal 11", 1),
        53: ((1, 1), "", 0),
        63: ((), "decode:corrupt", 1),
        67: ((1,), "exception", 1),
        73: ((1, 2), "time-limit:hard", 2),
        83: ((1, 2, 2, 3), "time-limit", 3),
        93: ((1, 1, 2), "", 0),
    }
    assert ending_of(100, max_attempts=3, poison_after=2).calls == (1,)
