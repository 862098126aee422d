"""How a program says what it saw."""

from __future__ import annotations

import json
import os
from typing import Any

from rmqpool import Confirmation, Publisher, PublishError

__all__ = ["publish_numbered", "tell"]


def tell(kind: str, **values: Any) -> None:
    """One JSON line on stdout, in one write: processes that share it do not mix their lines."""
    os.write(1, json.dumps({"kind": kind, "pid": os.getpid(), **values}).encode() + b"\n")


def publish_numbered(publisher: Publisher, queue: str, prefix: str, count: int, timeout: float = 15.0) -> int:
    """Publish ``count`` messages, tell the outcome of each; how many were confirmed."""
    confirmed = 0
    for number in range(count):
        message_id = f"{prefix}-{number}"
        outcome: Confirmation | PublishError
        try:
            outcome = publisher.publish(queue, b"", message_id=message_id, timeout=timeout)
        except PublishError as error:
            outcome = error
        confirmed += outcome.outcome == "confirmed"
        tell("published", id=message_id, outcome=str(outcome.outcome), text=str(outcome))
    return confirmed
