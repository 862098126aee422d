"""A worker whose jobs take as long as the environment says; each writes down that it began, and that it ended.

JOBS_QUEUE, JOBS_FILE, JOBS_SECONDS
"""

from __future__ import annotations

import os
import threading

from rmqpool import Delivery, Worker

worker = Worker("slow")
_SECONDS = float(os.environ["JOBS_SECONDS"])
_FILE = os.open(os.environ["JOBS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


@worker.consumer(os.environ["JOBS_QUEUE"], concurrency=2, prefetch=4)
def handle(body: str, delivery: Delivery) -> None:
    """Take the job's time; nothing ends it earlier."""
    os.write(_FILE, f"begin {body} {int(delivery.redelivered)}\n".encode())
    threading.Event().wait(_SECONDS)
    os.write(_FILE, f"end {body} {int(delivery.redelivered)}\n".encode())
