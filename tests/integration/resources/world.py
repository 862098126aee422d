"""A small world of resources that a test can break, and what the tests of pools wait with."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rmqpool import PoolEvent, PoolEventKind
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0  # seconds that a busy machine may take


class Thing:
    """What is pooled. ``dead`` makes its check fail; ``log`` is what happened to it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.dead = False
        self.log: list[str] = []

    def __repr__(self) -> str:
        return f"<Thing {self.number} {self.log}>"


class World:
    """Opens things, and remembers them. Gates are open until a test closes them (``clear``)."""

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self.failing = False
        self.reset_failing = False
        self.attempts = 0
        self.opening = self.most_opening = 0
        self.may_open = threading.Event()
        self.may_check = threading.Event()
        self.may_open.set()
        self.may_check.set()
        self.lock = threading.Lock()
        self.events: list[PoolEvent] = []

    @property
    def open(self) -> list[Thing]:
        """Those that were opened, and not closed."""
        return [thing for thing in list(self.things) if "closed" not in thing.log]

    @property
    def kinds(self) -> list[PoolEventKind]:
        """Of the events that were told."""
        return [event.kind for event in list(self.events)]

    def begin_open(self) -> None:
        with self.lock:
            self.attempts += 1
            self.opening += 1
            self.most_opening = max(self.most_opening, self.opening)

    def end_open(self) -> Thing:
        with self.lock:
            self.opening -= 1
            if self.failing:
                raise ConnectionRefusedError("refused")
            thing = Thing(len(self.things) + 1)
            self.things.append(thing)
            return thing

    def close(self, thing: Thing) -> None:
        thing.log.append("closed")

    def check(self, thing: Thing) -> bool:
        thing.log.append("checked")
        return not thing.dead

    def reset(self, thing: Thing) -> None:
        thing.log.append("reset")
        if self.reset_failing:
            raise RuntimeError("cannot be reset")

    def kill(self) -> None:
        """The server is away: what is open is dead, and nothing can be opened."""
        self.failing = True
        for thing in self.open:
            thing.dead = True

    def release_all(self) -> None:
        self.may_open.set()
        self.may_check.set()

    # The same for threads and for asyncio, as a thread waits and a coroutine waits.

    def open_blocking(self) -> Thing:
        self.begin_open()
        self.may_open.wait(PATIENCE)
        return self.end_open()

    def check_blocking(self, thing: Thing) -> bool:
        self.may_check.wait(PATIENCE)
        return self.check(thing)

    async def open_async(self) -> Thing:
        self.begin_open()
        try:
            while not self.may_open.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.opening -= 1
            raise
        return self.end_open()

    async def check_async(self, thing: Thing) -> bool:
        while not self.may_check.is_set():
            await asyncio.sleep(0.005)
        return self.check(thing)

    async def reset_async(self, thing: Thing) -> None:
        self.reset(thing)

    async def close_async(self, thing: Thing) -> None:
        self.close(thing)


def in_thread(function: Callable[[], Any]) -> Future[Any]:
    """Its result, or its error, comes in the future."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_for(condition: Callable[[], object], what: str) -> None:
    """As wait_until, as patient as all here."""
    wait_until(condition, what, timeout=PATIENCE, interval=0.005)


def pool_threads() -> list[str]:
    """The threads of resource pools that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tested-")]


def elapsed(function: Callable[[], object]) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    function()
    return time.monotonic() - began
