"""rmqpool/borrowers.py: who borrowed something, and where."""

from __future__ import annotations

import traceback

from rmqpool.borrowers import Borrower


def borrow() -> Borrower:
    return Borrower()


def borrow_below(depth: int) -> Borrower:
    return borrow_below(depth - 1) if depth else borrow()


def test_the_stack_is_told_as_python_tells_it() -> None:
    """Files, lines and functions are those of a traceback at that moment, the newest call is last."""
    borrower, stack = borrow(), traceback.extract_stack()
    told = borrower.borrowed_at()
    assert told.endswith("in borrow\n    return Borrower()\n")
    here = stack[-1]
    assert f'  File "{here.filename}", line {here.lineno}, in {here.name}\n    {here.line}\n' in told


def test_a_deep_stack_is_told_from_its_newest_calls() -> None:
    """Eight of them; calls that repeat each other are told once."""
    borrower = borrow_below(20)
    assert len(borrower.calls) == 8
    told = borrower.borrowed_at()
    assert told.count("in borrow_below") == 3
    assert "repeated 4 more times" in told


def test_a_borrower_keeps_nobody_alive() -> None:
    """Of the stack only the code is kept, none of its variables."""

    class Precious:
        """Dies with the call."""

        alive = 0

        def __init__(self) -> None:
            Precious.alive += 1

        def __del__(self) -> None:
            Precious.alive -= 1

    def call() -> Borrower:
        precious = Precious()
        assert precious.alive == 1
        return Borrower()

    borrower = call()
    assert Precious.alive == 0
    assert "in call" in borrower.borrowed_at()
