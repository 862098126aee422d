"""Batches are filled in order, never too large, never too late, and nothing is lost between two of them."""

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.batch_filling import BatchFilling

arrivals = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=30)


@given(arrivals, st.integers(1, 7), st.integers(0, 9))
def test_every_item_leaves_once_in_order_and_in_time(steps, size, timeout):
    """With a timer that looks at every moment."""
    filling: BatchFilling[tuple[int, int]] = BatchFilling(size, timeout)
    now, serial, batches = 0, 0, []
    for count, pause in steps:
        batches += filling.add([(serial + extra, now) for extra in range(count)], now)
        serial += count
        for _ in range(pause):
            now += 1
            if due := filling.take_due(now):
                batches.append(due)
            assert filling.due_at is None or filling.due_at > now
        for batch in batches:
            assert 1 <= len(batch) <= size
    if left := filling.take_all():
        assert now - left[0][1] < timeout
        batches.append(left)
    assert [item[0] for batch in batches for item in batch] == list(range(serial))
    assert len(filling) == 0
    assert filling.due_at is None


def test_a_full_batch_does_not_wait():
    """The rest does, from the moment at which it came."""
    filling: BatchFilling[int] = BatchFilling(3, 10)
    assert filling.add([1, 2], 100) == []
    assert filling.add([3, 4], 105) == [[1, 2, 3]]
    assert filling.due_at == 115
    assert filling.take_due(114) == []
    assert filling.take_due(115) == [4]


def test_without_a_timeout_what_came_together_is_a_batch():
    """No larger than the size."""
    filling: BatchFilling[int] = BatchFilling(2, 0)
    assert filling.add([1, 2, 3], 0) == [[1, 2], [3]]
