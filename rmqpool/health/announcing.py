"""All who are to be told of a worker's health, opened together and closed together; and the thread that tells them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rmqpool.health.files import HealthFiles
from rmqpool.health.systemd import SystemdNotifier
from rmqpool.health.values import Health, HealthSink

__all__ = ["Announcer", "HealthOptions", "HealthReporter", "open_sinks"]

_LOGGER = logging.getLogger("rmqpool")
_EVERY = 0.25  # seconds
_CLOSE_TIMEOUT = 2.0


class HealthOptions(NamedTuple):
    """Where health is told. ``http``: ``HOST:PORT``. None: not there. systemd is found in the environment."""

    live_file: Path | None = None
    ready_file: Path | None = None
    http: str | None = None


def open_sinks(options: HealthOptions, environment: Mapping[str, str] = os.environ) -> list[HealthSink]:
    """Open what the options and the environment name. Raises ConfigurationError for what cannot be written or bound."""
    sinks: list[HealthSink] = []
    try:
        notifier = SystemdNotifier.from_environment(environment)
        if notifier is not None:
            sinks.append(notifier)
        if options.live_file is not None or options.ready_file is not None:
            sinks.append(HealthFiles(options.live_file, options.ready_file))
        if options.http is not None:
            sinks.append(_server(options.http))
    except BaseException:
        Announcer(sinks).close()
        raise
    return sinks


def _server(address: str) -> HealthSink:
    from rmqpool.health.http import HealthServer, parse_address  # http.server loads much

    server = HealthServer(*parse_address(address))
    _LOGGER.info("health checks at %s/live and %s/ready", server.url, server.url)
    return server


class Announcer:
    """Shows the health to all of them. For one thread."""

    def __init__(self, sinks: Sequence[HealthSink]) -> None:
        self._sinks = tuple(sinks)

    def show(self, health: Health) -> None:
        """To each."""
        for sink in self._sinks:
            sink.show(health)

    def close(self) -> None:
        """Close each. Idempotent."""
        for sink in self._sinks:
            sink.close()


class HealthReporter:
    """Asks ``probe`` four times a second on a thread of its own, and shows what it says; without sinks it does nothing.

    ``probe`` may be replaced while it runs.
    """

    def __init__(self, probe: Callable[[], Health], sinks: Sequence[HealthSink]) -> None:
        self.probe = probe
        self._announcer = Announcer(sinks)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live, name="rmqpool health reports", daemon=True)
        if sinks:
            self._thread.start()

    def close(self) -> None:
        """Close the sinks: the process ends. Idempotent."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_TIMEOUT)
        self._announcer.close()

    def _live(self) -> None:
        failed = False
        while True:
            try:
                self._announcer.show(self.probe())
                failed = False
            except Exception:
                if not failed:
                    _LOGGER.exception("the health of this process cannot be told")
                failed = True
            if self._end.wait(_EVERY):
                return
