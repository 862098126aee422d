"""Whom a refusal blames: the named culprit alone, the possible ones as suspects, and never an innocent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.redrive import Blame, judge_channel_close, judge_connection_close

NOT_FOUND = "NOT_FOUND - no exchange 'gone' in vhost '/'"
TOO_LARGE = "PRECONDITION_FAILED - message size 9 is larger than configured max size 4"

exchanges = st.lists(st.sampled_from(["", "gone", "events"]), max_size=12)
codes = st.sampled_from([0, 200, 311, 312, 313, 320, 403, 404, 406, 501, 502, 504, 505, 540, 541])
texts = st.sampled_from([NOT_FOUND, TOO_LARGE, "", "exchange ''", "access to exchange 'events' in vhost '/' refused"])


def test_a_missing_exchange_blames_the_only_message_for_it() -> None:
    """The broker names the exchange: its one message failed, the others are innocent."""
    assert judge_channel_close(404, NOT_FOUND, ["", "gone", ""], alone=False) == Blame(culprits=(1,), innocents=(0, 2))


def test_several_messages_for_a_missing_exchange_are_suspects() -> None:
    """Only the first of them met the refusal, and the exchange may be declared meanwhile: each is tried alone."""
    assert judge_channel_close(404, NOT_FOUND, ["gone", "", "gone"], alone=False) == Blame(
        suspects=(0, 2), innocents=(1,)
    )


def test_an_unknown_culprit_makes_everybody_a_suspect() -> None:
    """406 names nothing."""
    assert judge_channel_close(406, TOO_LARGE, ["", "events"], alone=False) == Blame(suspects=(0, 1))


def test_a_suspect_that_was_alone_is_the_culprit() -> None:
    """Nothing else was on its way: it was this one."""
    assert judge_channel_close(406, TOO_LARGE, [""], alone=True) == Blame(culprits=(0,))


def test_a_single_message_that_was_not_alone_by_intention_stays_a_suspect() -> None:
    """Others may have been confirmed by answers that were lost with the channel."""
    assert judge_channel_close(406, TOO_LARGE, [""], alone=False) == Blame(suspects=(0,))


@pytest.mark.parametrize("code", [0, 200, 320, 504, 541])
def test_a_channel_that_ends_for_other_reasons_blames_nobody(code: int) -> None:
    """A management tool, a bug of the broker: everything is written again."""
    assert judge_channel_close(code, "", ["", ""], alone=False) == Blame(innocents=(0, 1))


def test_a_connection_that_is_lost_blames_nobody() -> None:
    """No code came, or the broker is shutting down (320)."""
    assert judge_connection_close(0, 2, alone=True) == Blame(innocents=(0, 1))
    assert judge_connection_close(320, 1, alone=True) == Blame(innocents=(0,))


def test_a_hard_error_makes_suspects_and_then_a_culprit() -> None:
    """A message can end a whole connection (501): it must not do so for ever."""
    assert judge_connection_close(501, 3, alone=False) == Blame(suspects=(0, 1, 2))
    assert judge_connection_close(501, 1, alone=True) == Blame(culprits=(0,))


@given(codes, texts, exchanges, st.booleans())
def test_every_message_stands_in_exactly_one_list(code: int, text: str, flying: list[str], alone: bool) -> None:
    """Nobody is forgotten and nobody is judged twice."""
    blame = judge_channel_close(code, text, flying, alone)
    assert sorted((*blame.culprits, *blame.suspects, *blame.innocents)) == list(range(len(flying)))


@given(codes, texts, exchanges)
def test_at_most_one_message_is_condemned_at_a_time(code: int, text: str, flying: list[str]) -> None:
    """A channel.close is the fault of one message."""
    assert len(judge_channel_close(code, text, flying, alone=False).culprits) <= 1


@given(codes, st.integers(0, 9), st.booleans())
def test_a_connection_close_judges_everybody_once(code: int, count: int, alone: bool) -> None:
    """The same for the end of a connection."""
    blame = judge_connection_close(code, count, alone)
    assert sorted((*blame.culprits, *blame.suspects, *blame.innocents)) == list(range(count))
