"""Ten thousand jobs that fail in every way (`make jobs`). RMQPOOL_JOBS sets how many."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.worker.conftest import Bench
from tests.integration.worker.jobs import run_jobs

COUNT = int(os.environ.get("RMQPOOL_JOBS", "10000"))
SECONDS = 60 + COUNT * 0.1


@pytest.fixture
def bench(vhost_url: str) -> Iterator[Bench]:
    """A bench on a vhost of the test's own."""
    made = Bench(vhost_url)
    yield made
    made.close()


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 60)
def test_ten_thousand_jobs_end_where_the_policy_says(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One in a hundred of each way to fail: every job ends once, handled or parked, with the reason and attempt that it must."""
    told = run_jobs(bench, tmp_path, COUNT, concurrency=8, timeout=SECONDS)
    with capsys.disabled():
        print(f"\njobs: {told}")
