"""Keeps so many worker processes running, until it is told to stop. One thread, the main one, which never blocks for long.

It knows nothing of brokers and imports nothing of the user's: a reload starts fresh interpreters, and what kills a worker
does not touch it.
"""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rmqpool.core.respawn import AfterEnd, Respawn, after_end
from rmqpool.core.rolling import Fresh, RollingReload, Step
from rmqpool.health.announcing import Announcer
from rmqpool.health.values import Health, HealthSink
from rmqpool.supervisor.options import SupervisorOptions
from rmqpool.supervisor.process import WorkerProcess, describe_end
from rmqpool.supervisor.wakeup import Wakeup
from rmqpool.supervisor.watching import FileWatch

__all__ = ["Supervisor"]

_LOGGER = logging.getLogger("rmqpool")
_TURN = 0.25  # seconds
_AFTER_THE_FIRST = 5.0  # seconds that the others wait for the first one: what keeps it from starting is told once
_SUSPENDED = 5.0  # seconds between two turns: it was not the others that were silent
_RESTART_GRACE = 5.0  # seconds, with --reload: whoever develops does not wait for half a minute
_SHORTEST_SILENCE = 2.0  # seconds: a sign of life comes every second
_FORCED = 128


class _Place:
    """Where one process is to run. ``fresh`` is the one that is to take the place in a rolling reload."""

    def __init__(self, number: int, due: float, respawn: Respawn) -> None:
        self.number = number
        self.process: WorkerProcess | None = None
        self.fresh: WorkerProcess | None = None
        self.due: float | None = due  # when to start one
        self.respawn = respawn
        self.is_over = False


class Supervisor:
    """Runs once, in the main thread. ``sinks`` are told the health of all processes together, and closed at the end."""

    def __init__(self, options: SupervisorOptions, sinks: Sequence[HealthSink] = ()) -> None:
        self._options = options
        self._announcer = Announcer(sinks)
        self._wakeup = Wakeup()
        self._places: list[_Place] = []
        self._retired: list[WorkerProcess] = []
        self._rolling: RollingReload | None = None
        self._roll_again = False
        self._replaced: WorkerProcess | None = None
        self._changed: str | None = None
        self._signals = 0
        self._stopping = False
        self._was_ready = False
        self._first_all_ready = False
        self._last_turn = 0.0
        self._code = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or the end of a burst; returns the exit code. SIGHUP reloads, a second signal kills.

        0 after a stop in good order, 128 and the signal's number after a second one, a worker's own code if it refused
        to start, or failed in a burst. Raises ConfigurationError if files cannot be watched.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._announcer.close)
            stack.enter_context(self._wakeup)
            if self._options.reload is not None:
                stack.callback(FileWatch(self._options.reload, self._on_change).close)
            stack.callback(self._close_all)
            self._begin()
            while not self._is_over():
                self._turn(self._wakeup.wait([one.socket for one in self._all() if one.is_open], _TURN))
        _LOGGER.info("supervisor of %s ends with %d", self._options.name, self._code)
        return self._code

    def _on_change(self, file: str) -> None:
        self._changed = file
        self._wakeup.nudge()

    # Turns

    def _begin(self) -> None:
        _LOGGER.info("supervisor of %s keeps %d worker processes", self._options.name, self._options.processes)
        now = self._last_turn = time.monotonic()
        for number in range(1, self._options.processes + 1):
            due = now if number == 1 else now + _AFTER_THE_FIRST
            self._places.append(_Place(number, due, self._options.make_respawn()))
        self._start_due(now)

    def _turn(self, heard: list[int]) -> None:
        now = time.monotonic()
        if now - self._last_turn > _SUSPENDED:
            for process in self._all():
                process.forgive(now)
        self._last_turn = now
        for number in heard:
            self._on_signal(number, now)
        for process in self._all():
            process.read(now)
        self._note_readiness(now)
        self._reap(now)
        self._end_what_hangs(now)
        if not self._stopping:
            self._roll(now)
            self._restart_if_changed(now)
            self._start_due(now)
        self._announcer.show(self._health(now))

    def _all(self) -> Iterator[WorkerProcess]:
        for place in self._places:
            yield from (one for one in (place.process, place.fresh) if one is not None)
        yield from self._retired

    def _is_over(self) -> bool:
        done = self._stopping or all(place.is_over for place in self._places)
        return done and not any(self._all())

    def _close_all(self) -> None:
        for process in self._all():
            process.close()

    # Signals

    def _on_signal(self, number: int, now: float) -> None:
        name = self._options.name
        if number == signal.SIGHUP and self._options.reload is None:
            if self._stopping:
                return
            if self._rolling is not None:
                self._roll_again = True
                return
            _LOGGER.info("supervisor of %s: SIGHUP; one process after the other is replaced", name)
            self._begin_to_roll()
            return
        self._signals += 1
        if self._signals > 1:
            _LOGGER.warning("supervisor of %s: a second signal kills all processes", name)
            self._code = _FORCED + number
            for process in self._all():
                process.kill()
        else:
            _LOGGER.info("supervisor of %s: %s; stopping, a second signal kills", name, signal.Signals(number).name)
        self._stop_all(now)

    def _stop_all(self, now: float) -> None:
        self._stopping = True
        self._rolling = None
        for process in self._all():
            process.stop(now)

    # What ended

    def _reap(self, now: float) -> None:
        for process in [one for one in self._retired if one.end_of() is not None]:
            process.close()
            self._retired.remove(process)
        for place in self._places:
            process_here = place.process
            if process_here is not None and (code := process_here.end_of()) is not None:
                place.process = None
                process_here.close()
                self._ended(place, process_here, code, now)
            if self._stopping and place.fresh is not None and place.fresh.end_of() is not None:
                place.fresh.close()
                place.fresh = None

    def _ended(self, place: _Place, process: WorkerProcess, code: int, now: float) -> None:
        told = f"process {place.number} of {self._options.name} (pid {process.pid}) ended {describe_end(code)}"
        if self._stopping:
            _LOGGER.info("%s", told)
            return
        if process.was_told_to_stop:  # because a file has changed
            place.due = now
            return
        then = after_end(
            code,
            refused=code in self._options.refusals,
            was_ready=self._was_ready,
            burst=self._options.burst,
            reloads=self._options.reload is not None,
        )
        if then is AfterEnd.AGAIN:
            self._replace(place, process, told, now)
        elif then is AfterEnd.AWAIT_CHANGE:
            _LOGGER.error("%s: it is started again when a file changes", told)
        elif then is AfterEnd.OVER:
            place.is_over = True
            self._code = self._code or code
            if not self._was_ready:  # the first one found nothing to wait for
                for other in self._places:
                    other.is_over = other.is_over or (other.process is None and other.due is not None)
        else:
            _LOGGER.error("%s before any was ready: all end", told)
            self._code = code
            self._stop_all(now)

    def _replace(self, place: _Place, process: WorkerProcess, told: str, now: float) -> None:
        if place.fresh is not None:
            _LOGGER.warning("%s: the one that was to replace it takes its place", told)
            return
        pause = place.respawn.pause(now - process.started_at, random.random())
        place.due = now + pause
        _LOGGER.warning("%s: another one starts in %.1f s", told, pause)

    def _end_what_hangs(self, now: float) -> None:
        for process in self._all():
            if process.is_overdue(now):
                _LOGGER.warning("process %d (pid %d) did not stop in time: killed", process.place, process.pid)
                process.kill()
            limit = max(_SHORTEST_SILENCE, self._options.hang_timeout)
            if self._options.hang_timeout and process.silence(now) > limit and not process.was_aborted:
                _LOGGER.error(
                    "process %d (pid %d) hangs: no sign of life for %g s; it is killed",
                    process.place,
                    process.pid,
                    process.silence(now),
                )
                process.abort(now)

    # What starts

    def _note_readiness(self, now: float) -> None:
        ready = [place.process is not None and place.process.is_ready for place in self._places]
        if any(ready) and not self._was_ready:
            self._was_ready = True
            for place in self._places:  # the first one has started well: the others need not wait
                if place.due is not None:
                    place.due = now
        if all(ready) and not self._first_all_ready:
            self._first_all_ready = True
            _LOGGER.info("all %d processes of %s are ready", len(ready), self._options.name)

    def _start_due(self, now: float) -> None:
        for place in self._places:
            if place.due is not None and place.due <= now and not place.is_over and not self._stopping:
                place.due = None
                place.process = self._start(place)
                if place.process is None:
                    place.due = now + place.respawn.pause(0.0, random.random())

    def _start(self, place: _Place) -> WorkerProcess | None:
        try:
            process = WorkerProcess(place.number, self._options)
        except OSError as error:
            _LOGGER.error("process %d of %s cannot be started: %s", place.number, self._options.name, error)
            return None
        _LOGGER.info("process %d of %s started (pid %d)", place.number, self._options.name, process.pid)
        return process

    def _restart_if_changed(self, now: float) -> None:
        file, self._changed = self._changed, None
        if file is None:
            return
        _LOGGER.info("%s has changed: restarting %s", file, self._options.name)
        for place in self._places:
            place.respawn = self._options.make_respawn()
            if place.process is None:
                place.due = now
            else:
                place.process.stop(now, _RESTART_GRACE)

    # A rolling reload

    def _begin_to_roll(self) -> None:
        numbers = [place.number for place in self._places if not place.is_over]
        self._rolling = RollingReload(numbers, self._options.ready_timeout)
        self._replaced = None

    def _roll(self, now: float) -> None:
        while self._rolling is not None:
            before = self._rolling.place
            fresh = None if before is None else self._places[before - 1].fresh
            old_runs = self._replaced in self._retired
            step = self._rolling.step(None if fresh is None else _how(fresh), old_runs=old_runs, now=now)
            if step is Step.WAIT:
                return
            if self._rolling.place is None:
                _LOGGER.info("reloaded: all %d processes of %s are new", self._rolling.renewed, self._options.name)
                self._end_rolling()
                continue
            place = self._places[self._rolling.place - 1]
            if step is Step.START:
                place.due = None
                place.fresh = self._start(place)
            elif step is Step.STOP_OLD:
                self._promote(place, now)
            else:
                self._give_up(place, now)

    def _promote(self, place: _Place, now: float) -> None:
        old, place.process, place.fresh = place.process, place.fresh, None
        place.respawn = self._options.make_respawn()
        self._replaced = old
        if old is not None:
            old.stop(now)
            self._retired.append(old)

    def _give_up(self, place: _Place, now: float) -> None:
        fresh, place.fresh = place.fresh, None
        code = None if fresh is None else fresh.end_of()
        if fresh is None:
            how = "could not be started"
        elif code is not None:
            how = f"ended {describe_end(code)}"
        else:
            how = f"was not ready within {self._options.ready_timeout:g} s"
        assert self._rolling is not None
        _LOGGER.error(
            "the reload of %s is given up: the new process %d %s; %d of %d are new, the others stay as they are",
            self._options.name,
            place.number,
            how,
            self._rolling.renewed,
            len(self._places),
        )
        if fresh is not None:
            fresh.stop(now)
            self._retired.append(fresh)
        if place.process is None:
            place.due = now + place.respawn.pause(0.0, random.random())
        self._end_rolling()

    def _end_rolling(self) -> None:
        self._rolling = None
        if self._roll_again:
            self._roll_again = False
            self._begin_to_roll()

    # Telling

    def _health(self, now: float) -> Health:
        processes = list(self._all())
        ready = sum(place.process is not None and place.process.is_ready for place in self._places)
        state = "running" if self._first_all_ready else "starting"
        if self._rolling is not None:
            state = "reloading"
        if self._stopping:
            state = "stopping"
        details: dict[str, Any] = {"processes": [process.told(now) for process in processes]}
        return Health(
            alive=not processes or any(process.is_alive(now) for process in processes),
            ready=ready == len(self._places) and not self._stopping,
            state=state,
            text=f"{state}: {ready} of {len(self._places)} processes ready",
            details=details,
        )


def _how(process: WorkerProcess) -> Fresh:
    if process.end_of() is not None:
        return Fresh.ENDED
    return Fresh.READY if process.is_ready else Fresh.STARTING
