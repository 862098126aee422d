"""Whatever an exception is, it becomes text."""

import sys

import pytest

from rmqpool.worker.failure import describe


class Unspeakable(Exception):
    """Its text cannot be had, and asking for it would end the thread."""

    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class LyingText(str):
    """A text that is more than a text."""

    def __str__(self):
        raise ValueError("no")


class Liar(Exception):
    """Answers with a subclass of str."""

    def __str__(self):
        return LyingText("odd")


def raised(error: BaseException) -> BaseException:
    """The error with a traceback of two frames: the catcher's, and one more."""

    def inner() -> None:
        raise error

    try:
        inner()
    except BaseException as caught:
        return caught


def test_an_exception_is_described_by_type_message_and_traceback():
    """The catcher's own frame is no news."""
    failure = describe("exception", raised(ValueError("a wrong price")))
    assert (failure.reason, failure.type, failure.message) == ("exception", "ValueError", "a wrong price")
    assert "in inner" in failure.traceback
    assert "in raised" not in failure.traceback
    assert str(failure) == "exception (ValueError: a wrong price)"


def test_a_class_of_ours_is_named_in_full():
    """Two libraries may have an Error each."""
    assert describe("exception", raised(Liar())).type == f"{__name__}.Liar"


def test_an_exception_that_cannot_be_text_is_described_all_the_same():
    """Even when its __str__ raises SystemExit."""
    failure = describe("exception", raised(Unspeakable()))
    assert failure.type.endswith("Unspeakable")
    assert failure.message == "(the exception cannot be turned into text)"
    assert "Unspeakable" in failure.traceback


def test_a_text_of_a_strange_class_becomes_a_plain_one():
    """Nothing of the user's class travels on."""
    assert type(describe("exception", raised(Liar())).message) is str


def test_an_endless_recursion_has_a_bounded_traceback():
    """Its last frames, not a thousand."""

    def endless(depth: int) -> int:
        return endless(depth + 1) if depth % 2 else len(str(endless(depth + 1)))

    try:
        endless(0)
    except RecursionError as error:
        failure = describe("exception", error)
    assert failure.type == "RecursionError"
    assert 0 < len(failure.traceback) < 64 * 1024 + 10


def test_a_chain_of_causes_is_bounded():
    """Ten thousand causes make no traceback of megabytes."""
    error: BaseException = ValueError("first")
    for number in range(min(10_000, sys.getrecursionlimit() * 2)):
        error, cause = RuntimeError("x" * 100, number), error
        error.__cause__ = cause
    failure = describe("exception", error)
    assert failure.type == "RuntimeError"
    assert len(failure.traceback) <= 64 * 1024 + 10


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_exceptions_that_end_programs_are_described_like_others(error):
    """They came out of a handler."""
    assert describe("exception", raised(error)).type == type(error).__name__
