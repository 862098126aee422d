"""Why a run over a file's lines ended before the file did, and from which line on to start again. Pure."""

from __future__ import annotations

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import Failure, failure_of
from rmqpool.cli.publishing.tally import Tally
from rmqpool.errors import RmqpoolError

__all__ = ["early_end"]


def early_end(tally: Tally, stopped: RmqpoolError | KeyboardInterrupt | None) -> Failure | None:
    """The failure to tell, with the line to go on with; None if all lines were handed over, and the broker answered."""
    if isinstance(stopped, KeyboardInterrupt):
        return Failure("Interrupted", _interrupted(tally), ExitCode.INTERRUPTED)
    if stopped is not None:
        return failure_of(stopped)
    if tally.broker_is_away:
        sentence = (
            f"the broker gave no answer in time, so reading stopped after line {tally.last_line}; go on with "
            f"tail -n +{tally.last_line + 1} once it is back, and with the lines named above"
        )
        return Failure("BrokerAway", sentence, ExitCode.PROBLEMS)
    return None


def _interrupted(tally: Tally) -> str:
    told = f"interrupted after line {tally.last_line}"
    if not tally.withdrawn:
        return f"{told}; go on with tail -n +{tally.last_line + 1}"
    lines = f"{tally.withdrawn} of these lines were" if tally.withdrawn > 1 else "one of these lines was"
    again = f", which sends {tally.sent_behind} more a second time" if tally.sent_behind else ""
    return f"{told}; {lines} taken back unsent: go on with tail -n +{tally.first_withdrawn}{again}"
