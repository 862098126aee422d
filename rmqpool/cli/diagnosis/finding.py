"""A finding is a value: what was looked at, how it is, and what to do. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Finding", "State", "exit_state", "problem", "render", "skipped", "warning", "well"]


class State(enum.StrEnum):
    """How a finding is. Only a problem changes the exit code."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """``stage`` is a short word (dns, tcp, password…), ``text`` a sentence, ``advice`` what to do, ``facts`` for machines."""

    stage: str
    state: State
    text: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return asdict(self)


def well(stage: str, text: str, **facts: Any) -> Finding:
    """All well here."""
    return Finding(stage, State.OK, text, facts=facts)


def warning(stage: str, text: str, advice: str = "", **facts: Any) -> Finding:
    """It works, but somebody should know."""
    return Finding(stage, State.WARNING, text, advice, facts)


def problem(stage: str, text: str, advice: str = "", **facts: Any) -> Finding:
    """It does not work."""
    return Finding(stage, State.PROBLEM, text, advice, facts)


def skipped(stage: str, text: str) -> Finding:
    """Not looked at, and why."""
    return Finding(stage, State.SKIPPED, text)


def exit_state(findings: Iterable[Finding]) -> bool:
    """True if there is no problem."""
    return all(finding.state is not State.PROBLEM for finding in findings)


_WORDS = {State.OK: "ok", State.WARNING: "warning", State.PROBLEM: "PROBLEM", State.SKIPPED: "skipped"}
SYMBOLS = {State.OK: "✓", State.WARNING: "!", State.PROBLEM: "✗", State.SKIPPED: "·"}


def render(finding: Finding, *, symbols: bool) -> tuple[str, str, list[str]]:
    """Mark, stage and lines of text: the sentence, then what to do."""
    mark = SYMBOLS[finding.state] if symbols else f"{_WORDS[finding.state]:<7}"
    advice = [f"{'→' if symbols else '->'} {finding.advice}"] if finding.advice else []
    return mark, f"{finding.stage:<11}", [*finding.text.splitlines(), *advice]
