"""A secret shows itself to `reveal` only."""

import copy
import json
import pickle
import traceback

import pytest

from rmqpool.secret import MASK, Secret

CANARY = "canary-7f3a"


@pytest.mark.parametrize("show", [str, repr, format, "{:>40}".format, "{!r}".format, lambda secret: f"{secret}"])
def test_no_way_of_printing_shows_it(show):
    """str, repr and format give the mask."""
    shown = show(Secret(CANARY))
    assert CANARY not in shown
    assert MASK in shown


def test_reveal_shows_it():
    """The one way to the text."""
    assert Secret(CANARY).reveal() == CANARY


def test_equality_is_by_text_and_hashes_agree():
    """Two secrets of one text are equal; a secret never equals a str."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("é\ud800") == Secret("é\ud800")


def test_an_empty_secret_is_false():
    """Truth is that of the text."""
    assert not Secret("")
    assert Secret("x")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_refused_and_says_what_to_do(protocol):
    """No protocol writes the text down."""
    with pytest.raises(TypeError, match="not pickled") as caught:
        pickle.dumps(Secret(CANARY), protocol)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_json_does_not_take_it():
    """It is no str, so no serializer writes it by accident."""
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))


def test_copies_are_the_same_object():
    """copy and deepcopy work, as dataclasses.asdict needs."""
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_it_cannot_be_changed_nor_given_attributes():
    """Immutable."""
    secret = Secret(CANARY)
    with pytest.raises(AttributeError):
        secret._text = "other"
    assert not hasattr(secret, "__dict__")


def test_only_text_is_wrapped():
    """A Secret of bytes or None is a mistake of the caller."""
    with pytest.raises(TypeError, match="bytes"):
        Secret(b"x")
