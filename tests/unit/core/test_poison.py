"""Messages that kill their processes: how often, and what follows."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.poison import AfterDeath, PoisonBook, after_death

DEATHS = st.integers(1, 100)


@given(DEATHS, DEATHS, st.booleans())
def test_a_message_is_parked_exactly_when_it_has_killed_as_many_as_it_may(deaths, poison_after, out_of_time):
    """Whatever it died of."""
    then = after_death(deaths, poison_after, out_of_time=out_of_time)
    assert (then is AfterDeath.POISONED) == (deaths >= poison_after)


@given(DEATHS, DEATHS)
def test_what_took_too_long_is_not_simply_tried_again(deaths, poison_after):
    """It would take as long once more."""
    assert after_death(deaths, poison_after, out_of_time=True) is not AfterDeath.AGAIN
    assert after_death(deaths, poison_after, out_of_time=False) is not AfterDeath.FAILED


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60))
def test_the_book_counts_for_each_message(steps):
    """As a plain counter does, while there is room."""
    book, counted = PoisonBook(), Counter()
    for name, died in steps:
        if died:
            counted[name] += 1
            assert book.add(name) == counted[name]
        else:
            book.forget(name)
            del counted[name]
    assert len(book) == len(counted)


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 10))
def test_the_book_stays_small_and_never_counts_too_many(names, most):
    """Forgetting makes a message live longer, never shorter; the newest is always remembered."""
    book, counted = PoisonBook(most), Counter()
    for name in names:
        counted[name] += 1
        assert 1 <= book.add(str(name)) <= counted[name]
        assert len(book) <= most
        deaths = book.add(str(name))
        counted[name] += 1
        assert deaths >= 2
