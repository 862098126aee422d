"""The total-queue checker: every confirmed message must be received, and nothing may be received that was never sent.

Pure accounting, no broker and no clock: a test records each publish with its outcome and each delivery, drains the
queues, and asks for the verdict. Duplicates are counted; with at-least-once delivery they are no error.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = ["Outcome", "TotalQueueChecker", "Verdict"]

Outcome = Literal["confirmed", "returned", "nacked", "not_sent", "unknown"]

# Weakest first. A message that was sent again under the same id counts by its strongest outcome: a confirm is a
# promise whatever came before it, and once an outcome was unknown, an earlier copy may still arrive.
_STRENGTH: Final[dict[str, int]] = {
    outcome: strength for strength, outcome in enumerate(("not_sent", "returned", "nacked", "unknown", "confirmed"))
}
_NEVER_ENQUEUED: Final = ("not_sent", "returned")
_SHOWN: Final = 5


@dataclass(frozen=True)
class Verdict:
    """What became of every message. Numbers count distinct message ids unless said otherwise.

    attempted == confirmed + returned + nacked + not_sent + unknown + unfinished.
    unfinished: attempts without an outcome: a publish that hung, or a publisher that died without a word.
    received: distinct ids received, the phantom ones too.
    duplicates: deliveries beyond the first of each id. redelivered: deliveries that carried the redelivered flag.
    lost: confirmed, never received. phantom: received, never attempted.
    unexpected: received, although every attempt ended as not_sent or returned. A nacked message may arrive: the broker
    did not promise that it is gone.
    """

    attempted: int
    confirmed: int
    returned: int
    nacked: int
    not_sent: int
    unknown: int
    unfinished: int
    received: int
    duplicates: int
    redelivered: int
    lost: tuple[str, ...]
    phantom: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing phantom, nothing unexpected, and every publish came to an outcome."""
        return not (self.lost or self.phantom or self.unexpected or self.unfinished)

    def raise_if_wrong(self) -> None:
        """Raise AssertionError, with a sentence that counts what is wrong, unless the verdict is ok."""
        if not self.ok:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        faults = [
            _sentence(len(self.lost), f"of {self.confirmed} confirmed messages were never received", self.lost),
            _sentence(len(self.phantom), "messages were received that nobody sent", self.phantom),
            _sentence(len(self.unexpected), "messages were received although not sent or returned", self.unexpected),
            _sentence(self.unfinished, f"of {self.attempted} publishes never came to an outcome", ()),
        ]
        return "; ".join([fault for fault in faults if fault] or ["nothing lost"]) + f" [{self._counts()}]"

    def _counts(self) -> str:
        return (
            f"attempted {self.attempted}, confirmed {self.confirmed}, returned {self.returned}, nacked {self.nacked}, "
            f"not sent {self.not_sent}, unknown {self.unknown}, unfinished {self.unfinished}, "
            f"received {self.received}, duplicates {self.duplicates}, redelivered {self.redelivered}"
        )


def _sentence(count: int, what: str, message_ids: tuple[str, ...]) -> str:
    if not count:
        return ""
    shown = ", ".join(message_ids[:_SHOWN]) + (", ..." if len(message_ids) > _SHOWN else "")
    return f"{count} {what} ({shown})" if shown else f"{count} {what}"


@dataclass(slots=True)
class _Message:
    """What is known of one message id: the strongest outcome so far, and whether an attempt is under way."""

    outcome: Outcome | None = None
    under_way: bool = True


class TotalQueueChecker:
    """Records publishes and deliveries from any thread, and judges them. Thread-safe; holds every id in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, _Message] = {}
        self._deliveries: Counter[str] = Counter()
        self._redelivered = 0

    def record_attempt(self, message_id: str) -> None:
        """Call before the publish starts. The same id may be tried again after an outcome other than confirmed.

        Raises ValueError if the id's last attempt has no outcome yet, or was confirmed: the test reuses an id.
        """
        with self._lock:
            message = self._messages.setdefault(message_id, _Message(under_way=False))
            if message.under_way or message.outcome == "confirmed":
                state = "still under way" if message.under_way else "confirmed already"
                raise ValueError(f"message {message_id!r} is {state}: a new message needs an id of its own")
            message.under_way = True

    def record_publish(self, message_id: str, outcome: Outcome) -> None:
        """Call when the publish ended. Raises ValueError for an unknown outcome, or without an attempt under way."""
        if outcome not in _STRENGTH:
            raise ValueError(f"no outcome is called {outcome!r}: it is one of {', '.join(get_args(Outcome))}")
        with self._lock:
            message = self._messages.get(message_id)
            if message is None or not message.under_way:
                raise ValueError(f"message {message_id!r} has no attempt under way: call record_attempt first")
            _settle(message, outcome)

    def record_delivery(self, message_id: str, redelivered: bool = False) -> None:
        """Call for each delivery, before or after the outcome of its publish is known."""
        with self._lock:
            self._deliveries[message_id] += 1
            self._redelivered += redelivered

    def abandon_unfinished(self) -> int:
        """Turn the attempts under way into `unknown`, because the test killed their publisher; return how many."""
        with self._lock:
            unfinished = [message for message in self._messages.values() if message.under_way]
            for message in unfinished:
                _settle(message, "unknown")
        return len(unfinished)

    def missing(self) -> int:
        """How many confirmed messages have not been received so far: the queues are drained when it is 0."""
        with self._lock:
            return len(self._lost())

    def verdict(self) -> Verdict:
        """Judge what was recorded so far. Ask when the publishers have ended and the queues are drained."""
        with self._lock:
            classes = Counter(_class_of(message) for message in self._messages.values())
            received = len(self._deliveries)
            return Verdict(
                attempted=len(self._messages),
                **{name: classes[name] for name in (*get_args(Outcome), "unfinished")},
                received=received,
                duplicates=self._deliveries.total() - received,
                redelivered=self._redelivered,
                lost=tuple(self._lost()),
                phantom=_ordered(self._deliveries.keys() - self._messages.keys()),
                unexpected=_ordered(message_id for message_id in self._deliveries if self._is_unexpected(message_id)),
            )

    def _lost(self) -> list[str]:
        return [
            message_id
            for message_id, message in self._messages.items()
            if message.outcome == "confirmed" and message_id not in self._deliveries
        ]

    def _is_unexpected(self, message_id: str) -> bool:
        message = self._messages.get(message_id)
        return message is not None and _class_of(message) in _NEVER_ENQUEUED

    def __repr__(self) -> str:
        with self._lock:
            return f"<TotalQueueChecker {len(self._messages)} attempted, {len(self._deliveries)} received>"


def _class_of(message: _Message) -> str:
    return "unfinished" if message.under_way or message.outcome is None else message.outcome


def _settle(message: _Message, outcome: Outcome) -> None:
    if message.outcome is None or _STRENGTH[outcome] > _STRENGTH[message.outcome]:
        message.outcome = outcome
    message.under_way = False


def _ordered(message_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(message_ids))
