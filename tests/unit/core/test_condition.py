"""Conditions: what they mean, what is refused with its column, and that nothing else is ever executed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rmqpool.core.condition import parse_condition
from rmqpool.errors import ConfigurationError

NAMES = {"reason": False, "age": False, "header": True, "body": True}
VALUES: dict[str, Any] = {
    "reason": "exception",
    "age": 90.5,
    "header": {"tenant": "a", "x-retry": 3, "flag": True, "nothing": None},
    "body": {"items": [{"sku": "x1"}, {"sku": "x2"}], "total": 12},
}


def holds(text: str) -> bool:
    """Whether a condition holds for VALUES."""
    return parse_condition(text, NAMES)(VALUES.get)


@pytest.mark.parametrize(
    "text",
    [
        "reason == 'exception'",
        "  reason == 'exception'",
        "age > 60 and age <= 90.5",
        "60 < age < 100",
        "header.tenant in ['a', 'b']",
        'header["x-retry"] == 3',
        "'cept' in reason",
        "body.items[1].sku == 'x2'",
        "body.items[-1].sku == 'x2'",
        "not header.missing",
        "header.missing == None",
        "header.nothing == null",
        "header.flag == true",
        "body.total >= 12 or nothing_is_asked == 1".replace("nothing_is_asked", "age"),
        "reason != 5",
        "reason not in 5",
        "age > -1",
    ],
)
def test_what_holds(text: str) -> None:
    """Comparisons, membership, paths, and what is not there is None."""
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "age < 'text'",
        "body.items.sku == 'x1'",
        "body.total.more == 1",
        "header.missing > 1",
        "'a' in age",
        "reason == 5",
    ],
)
def test_what_does_not_hold(text: str) -> None:
    """Values that cannot be compared, and paths that lead nowhere, are no errors."""
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("reason = 'x'", 8, "=="),
        ("age > 1 and nope == 2", 13, "'nope' is no name"),
        ("age.seconds > 1", 1, "has no parts"),
        ("age > 1 + 1", 7, "arithmetic"),
        ("reason.upper() == 'X'", 1, "a call"),
        ("  age > f'{age}'", 9, "f-string"),
        ("'ä' == header[age]", 15, "not allowed"),
        ("age > ", 6, ""),
        ("reason is None", 11, "write =="),
        ("body[1.5] == 1", 6, "whole number"),
    ],
)
def test_a_wrong_condition_is_told_with_its_column(text: str, column: int, part: str) -> None:
    """Columns count characters from 1, also behind letters of more than one byte."""
    with pytest.raises(ConfigurationError) as caught:
        parse_condition(text, NAMES)
    assert f"at column {column}:" in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "  ", "age > 1\nor age < 2", "(" * 900 + "age" + ")" * 900, "not " * 400 + "age"])
def test_what_is_empty_or_too_deep_is_refused(text: str) -> None:
    """Never a RecursionError."""
    with pytest.raises(ConfigurationError):
        parse_condition(text, NAMES)


class Guarded(dict[str, Any]):
    """A mapping whose every attribute but those of reading is a failure."""

    def __getattribute__(self, name: str) -> Any:
        assert name in ("get", "__class__", "__getitem__", "__len__"), f"the condition asked for {name}"
        return super().__getattribute__(name)


WORDS = """header body age reason .x ['x'] [0] .__class__ .__init__ () (age) __import__('os') == != < 'a' 1 -1 2.5 [1,'a'] None
( ) := {1} * ** + % open 1e999 lambda:1 [x|for|x|in|age] |in| |not|in| |and| |or| |not| |if| |else| await| yield|"""
PIECES = st.sampled_from(WORDS.split()).map(lambda piece: piece.replace("|", " "))


@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=40)))
@example("header.__class__.__mro__")
@example("body['x'].__init__.__globals__")
def test_nothing_but_looking_up_is_ever_executed(text: str) -> None:
    """Whatever the text: refused with a sentence, or it asks for names that are there, and gives true or false."""
    asked: list[str] = []

    def lookup(name: str) -> Any:
        asked.append(name)
        return Guarded(x=Guarded(x=1)) if NAMES[name] else 1

    try:
        condition = parse_condition(text, NAMES)
    except ConfigurationError:
        return
    assert condition(lookup) in (True, False)
    assert set(asked) <= set(NAMES)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_text_equals_itself_only(left: str, right: str) -> None:
    """Python's own way to write texts is the way to write them here."""
    if "\n" in repr(left):
        return
    assert parse_condition(f"header.x == {left!r}", NAMES)(lambda name: {"x": right}) is (left == right)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("age = 3", "column 5: invalid syntax. Maybe|equality is written =="),
        ("age > 3 && reason", "column 10: .*; write and$"),
        ("age > 3 || reason", "column 10: .*; write or$"),
        ("!reason", "column 1: .*; write not$"),
    ],
)
def test_what_other_languages_write_is_told_with_what_is_written_here(text: str, hint: str) -> None:
    """People come from SQL, jq and JavaScript."""
    with pytest.raises(ConfigurationError, match=hint):
        parse_condition(text, NAMES)
