"""What leased channels promise to a caller whose signal handler raises, at whatever moment: no place is lost."""

from __future__ import annotations

import pytest

from rmqpool import ConnectionPool
from rmqpool.pool_stats import ChannelStats
from rmqpool.testing.waiting import wait_until
from tests.interrupts import interrupts

PATIENCE = 60.0  # seconds: for a machine that is much slower


@pytest.mark.filterwarnings("ignore:a leased channel was never released:ResourceWarning")
@pytest.mark.parametrize("failing", [False, True], ids=["block", "failing block"])
def test_an_interrupt_loses_no_place(vhost_url: str, failing: bool) -> None:
    """Wherever it comes in leasing or giving back, all channels are to be had again."""
    with ConnectionPool(vhost_url, channels_per_connection=2, timeout=PATIENCE) as pool:

        def work() -> None:
            with pool.channel() as channel:
                assert channel.is_open
                if failing:
                    raise ZeroDivisionError

        def channels() -> ChannelStats:
            stats = pool.stats().channels
            assert stats is not None
            return stats

        with pool.channel():
            pass
        places = 0
        for where in interrupts(work):
            places += 1
            wait_until(
                lambda: channels().leased == channels().opening == channels().waiting == 0,
                f"the end of what began before {where}",
                timeout=PATIENCE,
            )
        assert places > 10
        with pool.channel(), pool.channel():
            assert channels().leased == 2
