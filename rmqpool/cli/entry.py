"""What the command ``rmqpool`` starts with: Ctrl-C is told in a word also while the rest is still being imported."""

from __future__ import annotations

import sys
from typing import NoReturn

from rmqpool.cli.early_signals import hold_signals

__all__ = ["main"]

_INTERRUPTED = 130  # as rmqpool.cli.exits says, which is not imported yet


def main() -> NoReturn:
    """The command: runs and exits."""
    hold_signals(sys.argv[1:])
    try:
        from rmqpool.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("rmqpool: interrupted\n")
        sys.exit(_INTERRUPTED)
