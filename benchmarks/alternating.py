"""Runs that take turns and are more than a client process: each round does every one once, beginning with another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import psycopg

from benchmarks.children import MissingClientError, RunFailedError
from benchmarks.queues import WrongCountError
from benchmarks.report import EntryResult, Sample
from rmqpool.testing.errors import ServicesError

__all__ = ["FAILURES", "Row", "Tell", "Turn", "alternate", "take_turns"]

FAILURES = (RunFailedError, WrongCountError, ServicesError, psycopg.Error, ValueError)
Tell = Callable[[str], None]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Turn(Generic[R]):
    """What is done once in each round. ``run`` may raise MissingClientError, or one of FAILURES."""

    name: str
    run: Callable[[], R]
    note: str = ""
    group: str = ""


@dataclass
class Row(Generic[R]):
    """What came of one turn in all rounds: samples, the errors of runs that failed, or why there is nothing to run."""

    samples: list[R] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing: str = ""


def alternate(key: str, turns: Sequence[Turn[Sample]], rounds: int, tell: Tell) -> tuple[EntryResult, ...]:
    """A row for each turn, in their order. A run that fails is recorded, and the others go on."""
    rows = take_turns(key, turns, rounds, tell, lambda sample: f"{sample.rate:,.0f} rows/s")
    return tuple(
        EntryResult(turn.name, turn.note, row.missing, tuple(row.samples), tuple(row.failed), turn.group)
        for turn, row in zip(turns, rows, strict=True)
    )


def take_turns(key: str, turns: Sequence[Turn[R]], rounds: int, tell: Tell, words: Callable[[R], str]) -> list[Row[R]]:
    """As :func:`alternate`, for samples of any kind; ``words`` tells one."""
    rows: list[Row[R]] = [Row() for _ in turns]
    for number in range(rounds):
        for index in range(len(turns)):
            place = (index + number) % len(turns)
            if not rows[place].missing:
                _run_into(rows[place], turns[place], f"{key} {number + 1}/{rounds}", tell, words)
    return rows


def _run_into(row: Row[R], turn: Turn[R], label: str, tell: Tell, words: Callable[[R], str]) -> None:
    try:
        sample = turn.run()
    except MissingClientError as error:
        row.missing = str(error)
        tell(f"{label}: {turn.name}: missing: {error}")
    except FAILURES as error:
        row.failed.append(str(error))
        tell(f"{label}: {turn.name}: FAILED: {error}\n{getattr(error, 'output', '')}".rstrip())
    else:
        row.samples.append(sample)
        tell(f"{label}: {turn.name}: {words(sample)}")
