"""What the child processes of ``test_caller`` run. Each of them imports this module, so it imports next to nothing."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

from rmqpool import Delivery, Retry, Skip

__all__ = ["CRASHED", "Price", "WrongError", "handle"]

CRASHED = 7


@dataclass
class Price:
    """Returned in the child."""

    cents: int


class WrongError(LookupError):
    """Raised in the child, known here."""


def handle(body: bytes, delivery: Delivery) -> object:
    """Do what the body says."""
    word, _, argument = body.decode().partition(" ")
    match word:
        case "crash":
            os._exit(CRASHED)
        case "crash-until" if not os.path.exists(argument):
            os._exit(CRASHED)
        case "wrong":
            raise WrongError(argument)
        case "hidden":
            raise type("HiddenError", (WrongError,), {})(argument)
        case "skip":
            raise Skip(argument)
        case "retry":
            raise Retry(argument, delay=2.5)
        case "lambda":
            return lambda: None
        case "price":
            return Price(250)
        case "chatter":
            while True:
                logging.getLogger("chatter").error("and so on")
        case "sleep":
            time.sleep(float(argument))
    return {"pid": os.getpid(), "at": delivery.timestamp}
