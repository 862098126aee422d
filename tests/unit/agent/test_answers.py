"""Counting the answers that the broker owes: the same as keeping every tag."""

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.agent.answers import AnswerCount


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.booleans())))
def test_it_counts_as_a_set_of_tags_would(steps: list[tuple[bool, int, bool]]) -> None:
    """Publishes and answers in any order, with and without ``multiple``; an answer twice changes nothing."""
    counted, open_tags, published = AnswerCount(), set[int](), 0
    for publishes, tag, multiple in steps:
        if publishes:
            counted.publish()
            published += 1
            open_tags.add(published)
        elif tag <= published and (tag or multiple):  # as a broker answers
            counted.answer(tag, multiple)
            open_tags -= {one for one in open_tags if one == tag or (multiple and (one <= tag or tag == 0))}
        assert counted.missing == len(open_tags)
