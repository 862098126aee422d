"""benchmarks/clients/threads.py: how messages are dealt out to threads."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.clients.threads import shares


@given(st.integers(min_value=0, max_value=10**6), st.integers(min_value=1, max_value=2000))
def test_shares_add_up_and_differ_by_one_at_most(count: int, threads: int) -> None:
    """No message is left out or doubled, and no thread has more to do than the others."""
    dealt = shares(count, threads)
    assert (len(dealt), sum(dealt)) == (threads, count)
    assert max(dealt) - min(dealt) <= 1
