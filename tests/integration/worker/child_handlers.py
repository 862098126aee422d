"""Handlers that child processes import, by the tests of this folder. What they do stands in the message."""

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmqpool import Delivery, Postpone, Reject, Retry
from rmqpool.errors import TimeLimitExceededError

LOGGER = logging.getLogger("tests.child")
HELD: list[bytes] = []
SEEN: list[str] = []


@dataclass
class Order:
    """A typed body."""

    id: int
    file: str = ""


class UnknownPriceError(ValueError):
    """An exception of the user's own."""


def write(file: str, line: str) -> None:
    """One line for the test; several processes may append."""
    with Path(file).open("a") as opened:
        opened.write(f"{line}\n")


def told(order: dict) -> None:
    """Tells who handled it."""
    SEEN.append(order["id"])
    write(order["file"], f"{order['id']} {os.getpid()} {len(SEEN)}")


def typed(order: Order, delivery: Delivery) -> None:
    """Tells what it got."""
    write(order.file, f"{type(order).__name__} {order.id} {delivery.message_id} {delivery.headers} {delivery.queue}")


def verdict(order: dict, delivery: Delivery) -> None:
    """Ends in each way that is no crash."""
    match order["do"]:
        case "reject":
            raise Reject("wrong price")
        case "retry" if not delivery.redelivered:
            raise Retry("later", delay=0.1)
        case "postpone" if not os.path.exists(order["file"]):
            write(order["file"], "postponed")
            raise Postpone("later", delay=0.1)
        case "raise":
            raise UnknownPriceError("a wrong price")
        case "settle":
            delivery.ack()
        case "memory":
            HELD.append(b"x" * (1 << 34))
        case "hoard":
            HELD.append(b"x" * (24 << 20))
        case "unspeakable":
            raise Unspeakable
        case "exit":
            sys.exit(4)
    if "file" in order:
        told(order)


class Unspeakable(Exception):
    """Cannot be shown in any way."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def crash(order: dict) -> None:
    """Kills its process, if it is told to."""
    match order.get("do"):
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "once" if not Path(order["mark"]).exists():
            Path(order["mark"]).touch()
            os._exit(3)
        case "close":
            os.closerange(3, 256)
            time.sleep(60)
        case "grandchild":
            program = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
            subprocess.Popen([sys.executable, "-c", program, order["file"]])
            while not Path(order["file"]).exists() or not Path(order["file"]).read_text():
                time.sleep(0.01)
            os._exit(3)
    told(order)


def slow(order: dict) -> None:
    """Takes its time, in several ways."""
    write(order["file"], f"begun {order['id']} {os.getpid()}")
    match order.get("do"):
        case "sleep":
            time.sleep(order.get("seconds", 60))
        case "busy":
            while True:
                pass
        case "gil":
            re.fullmatch(r"(a+)+b", "a" * 64)  # holds the interpreter's lock for ever
        case "stubborn":
            while True:
                try:
                    time.sleep(60)
                except TimeLimitExceededError:
                    write(order["file"], "swallowed")
    write(order["file"], f"ended {order['id']} {os.getpid()}")


async def later(order: dict) -> None:
    """A coroutine function."""
    import asyncio

    write(order["file"], f"begun {order['id']}")
    await asyncio.sleep(order.get("seconds", 0))
    write(order["file"], f"ended {order['id']}")


def logs(order: dict) -> None:
    """Writes to the log."""
    LOGGER.debug("too quiet")
    LOGGER.warning("order %s looks odd", order["id"], extra={"order": order["id"], "what": object()})
    try:
        raise ValueError("inner")
    except ValueError:
        LOGGER.exception("it went wrong")


@dataclass
class Price:
    """What an answer holds."""

    cents: int


def price(order: dict) -> Any:
    """Answers, or fails to."""
    match order["do"]:
        case "lambda":
            return lambda: None
        case "reject":
            raise Reject("no such article")
        case "exit":
            os._exit(3)
    return Price(order["id"] * 2)


def numbered(order: dict) -> None:
    """Tells that it begins and ends; the lower its number, the longer it takes."""
    write(order["file"], f"begin {order['key']} {order['number']}")
    time.sleep(0.1 if order["number"] == 0 else 0.01)
    write(order["file"], f"end {order['key']} {order['number']}")


def twice(order: dict, delivery: Delivery) -> None:
    """Succeeds at the second attempt."""
    if delivery.attempt == 1:
        raise UnknownPriceError("not yet")
    told(order)


async def _work(order: dict) -> None:
    write(order["file"], "worked")


def hides_a_coroutine(order: dict) -> Any:
    """As a decorator does that knows nothing of async def."""
    return _work(order)
