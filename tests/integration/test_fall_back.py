"""The same promises through pika's own path: a part of the tests again, in a process that is told not to use ours.

``RMQPOOL_WIRE=pika make test`` runs all of them that way.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
AGAIN = (
    "tests/integration/test_publisher_outcomes.py",
    "tests/integration/test_consumer.py",
    "tests/integration/test_consumer_pace.py",
    "tests/integration/worker/test_handling.py",
    "tests/faults/test_settlement.py",
)


@pytest.mark.timeout(300)
def test_the_promises_hold_on_pikas_own_path() -> None:
    """Outcomes of publishes, deliveries, acknowledgements and the worker's handling, with RMQPOOL_WIRE=pika."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *AGAIN]
    environment = {**os.environ, "RMQPOOL_WIRE": "pika"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    closing = run.stdout.strip().splitlines()[-1:]
    assert run.returncode == 0, run.stdout[-8000:]
    assert int(re.findall(r"(\d+) passed", "".join(closing))[0]) > 50, closing


def test_the_path_is_pikas_and_the_log_says_so_once() -> None:
    """Two connections in one process, one line."""
    program = (
        "import logging, pika\n"
        "logging.basicConfig(format='%(message)s', level='INFO')\n"
        "from rmqpool.amqp.wire_support import may_use_fast_path\n"
        "print([may_use_fast_path(pika.SelectConnection) for _ in range(2)])\n"
    )
    environment = {**os.environ, "RMQPOOL_WIRE": "pika"}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[False, False]"
    assert run.stderr.count("RMQPOOL_WIRE=pika") == 1
