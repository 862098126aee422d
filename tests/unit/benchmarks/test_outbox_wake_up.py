"""benchmarks/outbox_wake_up.py: what pgbench says of its run."""

import pytest

from benchmarks.children import RunFailedError
from benchmarks.outbox_wake_up import outcome

OUTPUT = """\
number of transactions actually processed: 4000/4000
number of failed transactions: 0 (0.000%)
latency average = 5.1 ms
tps = 1600.000000 (without initial connection time)
"""


def test_the_figures_are_those_that_pgbench_printed() -> None:
    """Transactions, and the seconds that go with its rate."""
    assert outcome(OUTPUT) == (4000, 2.5)


@pytest.mark.parametrize("output", ["", "tps = 3.0 (…)", OUTPUT.replace("1600.000000", "0.000000")])
def test_a_run_without_figures_is_a_failed_run(output: str) -> None:
    """No rate is made up."""
    with pytest.raises(RunFailedError, match="printed no figures"):
        outcome(output)
