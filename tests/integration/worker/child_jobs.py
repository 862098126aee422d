"""The handler of the counted jobs: it does what its message's script says, and writes down each call."""

import ctypes
import os
import signal
import time

from rmqpool import Delivery
from tests.integration.worker.job_plan import script_of


class RefusedError(Exception):
    """What the policy gives up on."""


def work(job: dict, delivery: Delivery) -> None:
    """One call: its attempt goes into the job's own file before anything else happens, an exclamation mark after it."""
    file = os.open(f"{job['folder']}/{job['number']}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        calls = os.fstat(file).st_size
        os.write(file, b"%d" % delivery.attempt)
        script = script_of(job["number"])
        match script[min(calls, len(script) - 1)]:
            case "r":
                raise ValueError("not this time")
            case "g":
                raise RefusedError("never")
            case "s":
                time.sleep(60)
            case "c":
                ctypes.string_at(0)
            case "h":
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # the time limit's exception never comes
                time.sleep(60)
        os.write(file, b"!")
    finally:
        os.close(file)
