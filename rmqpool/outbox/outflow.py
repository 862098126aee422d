"""The relay's way out: rows become messages and are submitted pipelined; outcomes come back as verdicts on rows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rmqpool.errors import (
    NackedError,
    PoolClosedError,
    PublishError,
    PublishPreconditionError,
    UnroutableError,
)
from rmqpool.future import PublishFuture
from rmqpool.outbox.rows import Row, message_of
from rmqpool.publisher import Publisher
from rmqpool.write_lease import Lease

__all__ = ["Failure", "Outflow", "Verdicts"]

_STRAGGLERS: Final = 0.05  # seconds after which a batch's outcomes are taken although some are open


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that the broker did not take. ``hopeless``: no later attempt would end in another way."""

    row: Row
    reason: str
    error: str
    hopeless: bool = False


@dataclass(slots=True)
class Verdicts:
    """Outcomes of rows: confirmed; to be sent again (not sent, unknown); failed."""

    confirmed: list[Row] = field(default_factory=list)
    again: list[Row] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    trouble: str = ""

    def __bool__(self) -> bool:
        return bool(self.confirmed or self.again or self.failed)


@dataclass(slots=True)
class _Batch:
    """Rows that were submitted together."""

    rows: list[Row]
    futures: list[PublishFuture]
    submitted_at: float


class Outflow:
    """Submits rows through ``publisher``, whose own retry is off here: only one party decides what is sent again.

    ``wake`` is called, from an I/O thread, when the last row of a batch has its outcome. Belongs to the relay's thread.
    """

    def __init__(self, publisher: Publisher, timeout: float, wake: Callable[[], object]) -> None:
        self._publisher = publisher
        self._timeout = timeout
        self._wake = wake
        self._batches: deque[_Batch] = deque()
        self._at_once = Verdicts()

    def send(self, rows: Sequence[Row], lease: Lease) -> None:
        """Submit rows in order; what is not written when the lease ends never is. Its confirm may come later."""
        batch = _Batch([], [], time.monotonic())
        for row in rows:
            if time.monotonic() >= lease.end:
                self._at_once.again.append(row)
                continue
            try:
                message = message_of(row)
                future = self._publisher.submit_message(message, timeout=self._timeout, retry=False, lease=lease)
            except (PublishError, PoolClosedError) as error:
                self._at_once.again.append(row)
                self._at_once.trouble = _words(error)
            except Exception as error:  # noqa: BLE001 - written by hand, it may break anything; the relay must live
                self._at_once.failed.append(Failure(row, "unsendable", _words(error), hopeless=True))
            else:
                batch.rows.append(row)
                batch.futures.append(future)
        if batch.futures:
            self._batches.append(batch)
            batch.futures[-1].add_done_callback(lambda _: self._wake())

    def collect(self) -> Verdicts:
        """The outcomes that are known by now, each once."""
        verdicts, self._at_once = self._at_once, Verdicts()
        now = time.monotonic()
        kept: deque[_Batch] = deque()
        for batch in self._batches:
            if now - batch.submitted_at > _STRAGGLERS or batch.futures[-1].done():
                if not _take_done(batch, verdicts):
                    kept.append(batch)
            else:
                kept.append(batch)
        self._batches = kept
        return verdicts


def _take_done(batch: _Batch, verdicts: Verdicts) -> bool:
    """Add the outcomes that are known; True if none is open."""
    open_rows: list[Row] = []
    open_futures: list[PublishFuture] = []
    confirmed = verdicts.confirmed
    for row, future in zip(batch.rows, batch.futures, strict=True):
        if not future.done():
            open_rows.append(row)
            open_futures.append(future)
            continue
        error = future.exception(timeout=0)
        if error is None:
            confirmed.append(row)
        elif isinstance(error, UnroutableError | NackedError):
            verdicts.failed.append(_failure(row, error))
        else:
            verdicts.again.append(row)
            verdicts.trouble = _words(error)
    if open_futures:
        batch.rows, batch.futures = open_rows, open_futures
    return not open_futures


def _failure(row: Row, error: PublishError) -> Failure:
    reason = "returned" if isinstance(error, UnroutableError) else "nacked"
    code = getattr(error, "code", 0)
    if code:
        reason = f"nacked:{code}"
    return Failure(row, reason, _words(error), hopeless=isinstance(error, PublishPreconditionError))


def _words(error: BaseException) -> str:
    """The error's words as a Postgres text takes them."""
    return str(error).replace("\0", "\\0")[:2000]
