"""What a pool of resources says of itself: how it is doing, its events, and its errors by kind."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from rmqpool.core.verdict import PoolHealth, judge
from rmqpool.looks import Looks
from rmqpool.pool_events import PoolEvent, PoolEventKind
from rmqpool.resources.health import facts_of
from rmqpool.resources.values import ResourceOptions, ResourceStats

__all__ = ["Errors", "Telling"]

_LOGGER = logging.getLogger("rmqpool")


class Errors:
    """Counts errors by the name of their class. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, error: BaseException) -> None:
        """One more."""
        with self._lock:
            self._counts[type(error).__name__] += 1

    def counts(self) -> Mapping[str, int]:
        """So far."""
        with self._lock:
            return MappingProxyType(dict(self._counts))


class Telling:
    """The base of ``PoolBase``, which sets all these. Everything here is called outside of the pool's lock."""

    name: str
    _errors: Errors
    _looks: Looks[ResourceStats]
    _options: ResourceOptions

    def stats(self) -> ResourceStats:
        """The figures of this moment, and the counts since the pool was made."""
        raise NotImplementedError

    def health(self) -> PoolHealth:
        """How the pool is doing, why, and what to do, from its figures: asks nobody, returns at once. See ``ready`` of it.

        Counts are looked at since an earlier call that is 30 seconds ago or more, or since the pool was made.
        """
        stats = self.stats()
        earlier, seconds = self._looks.compare(stats)
        error = self._last_open_error()
        name = "" if error is None else type(error).__name__  # not its text, which may hold a secret
        return judge(facts_of(stats, stats.since(earlier), name, seconds, self._options.timeout))

    def _last_open_error(self) -> BaseException | None:
        raise NotImplementedError

    def _tell_opened(self, seconds: float, error: BaseException | None, gave_up: bool) -> None:
        if error is None:
            self._tell(PoolEventKind.OPENED, f"opened in {seconds:.3f} s")
            return
        self._tell(PoolEventKind.OPEN_FAILED, f"an open failed with {type(error).__name__}", error)
        if gave_up:
            sentence = f"nothing could be opened for {self._options.reconnect_timeout:g} s; the pool goes on trying"
            self._tell(PoolEventKind.RECONNECT_FAILED, sentence, error)

    def _tell_tended(self, reset: bool, good: bool, error: BaseException | None) -> None:
        if not good:
            kind = PoolEventKind.RESET_FAILED if reset else PoolEventKind.CHECK_FAILED
            why = "it returned False" if error is None else type(error).__name__
            self._tell(kind, f"{'reset' if reset else 'check'} failed: {why}; the resource is closed", error)

    def _tell_lease(self, kind: PoolEventKind, sentence: str) -> None:
        self._tell(kind, sentence)

    def _tell_closed(self, error: BaseException | None) -> None:
        if error is None:
            self._tell(PoolEventKind.CLOSED, "closed a resource")
        else:
            self._tell(PoolEventKind.CLOSE_FAILED, f"closing failed with {type(error).__name__}", error)

    def _tell(self, kind: PoolEventKind, sentence: str, error: BaseException | None = None) -> None:
        if error is not None and kind is not PoolEventKind.RECONNECT_FAILED:  # that one has been counted
            self._errors.add(error)
        if self._options.on_event is None:
            return
        try:
            self._options.on_event(PoolEvent(kind, self.name, sentence, error))
        except Exception:
            _LOGGER.exception("on_event of pool %r failed", self.name)
