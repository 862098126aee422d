"""``rmqpool dlq replay``: send dead letters again, each confirmed before it is taken from here."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from rmqpool.cli.dlq_session import (
    Choice,
    LimitOption,
    Place,
    QueueArgument,
    RateOption,
    opened,
    progress,
)
from rmqpool.cli.exits import ExitCode
from rmqpool.cli.option_groups import with_option_groups
from rmqpool.cli.outbox_session import DryRunOption
from rmqpool.cli.terminal import print_json, print_line, styled

if TYPE_CHECKING:
    from rmqpool.cli.publishing.interrupt import Interrupt
    from rmqpool.dlq import DeadLetterQueue, ReplayReport, Selection

__all__ = ["register"]

_SHOWN = 5  # messages that are told one by one


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("replay")(with_option_groups(replay))


def replay(
    queue: QueueArgument,
    *,
    choice: Choice,
    limit: LimitOption = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="QUEUE", help="Another queue than the one each message came from.")
    ] = None,
    rate: RateOption = None,
    window: Annotated[
        int,
        typer.Option(
            "--window", metavar="N", min=1, max=1000, help="On their way at once: faster; a kill may double so many."
        ),
    ] = 1,
    dry_run: DryRunOption = False,
    place: Place,
) -> None:
    """Send dead letters to the queue they came from, with their message id, in their order.

    A message is taken away after its copy was confirmed. Stop it at any moment (Ctrl-C, even kill -9) and start it again:
    nothing is lost; after a kill at most --window messages are both sent and still here. What fails again during the run
    is not replayed again by it. Ends with 1 if a message could not be sent: it stays.

    \b
    Example:
      rmqpool dlq replay orders --dry-run
      rmqpool dlq replay orders --where '"KeyError" in exception or age < 3600' --rate 100
    """
    from rmqpool.cli.publishing.interrupt import Interrupt

    selection = choice.selection(limit)
    with opened(queue, place) as letters:
        if to == letters.name:
            raise typer.BadParameter(f"--to {to} is the queue that is replayed")
        if dry_run:
            _tell_dry_run(letters, selection, to, place.as_json)
            return
        began = time.monotonic()
        with Interrupt() as interrupt:
            report = _run(letters, selection, to, window, rate, interrupt, place.as_json)
            interrupted = interrupt.requested
    code = (
        ExitCode.INTERRUPTED if interrupted else ExitCode.PROBLEMS if report.failed or report.stopped else ExitCode.OK
    )
    _tell(report, letters.name, time.monotonic() - began, code, place.as_json)
    if code:
        raise typer.Exit(code)


def _run(
    letters: DeadLetterQueue,
    selection: Selection,
    to: str | None,
    window: int,
    rate: float | None,
    interrupt: Interrupt,
    as_json: bool,
) -> ReplayReport:
    from rmqpool.cli.publishing.pacing import Pacer
    from rmqpool.dlq import Replay

    pacer = Pacer(rate)

    def pause() -> None:
        seconds = pacer.delay(time.monotonic())
        if seconds <= 0:
            return
        try:
            with interrupt.allowed():
                time.sleep(seconds)
        except KeyboardInterrupt:
            return  # it is remembered: the run ends before the next message

    with progress(wanted=not as_json) as update:

        def on_progress(report: ReplayReport) -> None:
            failed = f", {report.failed:,} failed" if report.failed else ""
            update(f"{report.replayed:,} replayed{failed}", report.seen, report.ready)

        run = Replay(
            letters,
            selection,
            to=to,
            window=window,
            pause=pause,
            stop=lambda: interrupt.requested,
            on_progress=on_progress,
        )
        return run.run()


def _tell_dry_run(letters: DeadLetterQueue, selection: Selection, to: str | None, as_json: bool) -> None:
    targets: Counter[str] = Counter(to or letter.queue for letter in letters.look(selection))
    if as_json:
        print_json({"ok": True, "dry_run": True, "queue": letters.name, "total": targets.total(), "to": dict(targets)})
        return
    for target, count in targets.most_common():
        print_line(f"{count:,} would be sent to {target}" if target else f"{count:,} tell no queue: they need --to")
    print_line(f"{targets.total():,} messages of {letters.name} would be replayed")


def _tell(report: ReplayReport, queue: str, seconds: float, code: int, as_json: bool) -> None:
    if as_json:
        facts = {"ok": not code, "dry_run": False, "queue": queue, "seconds": round(seconds, 3)}
        print_json({**facts, **dataclasses.asdict(report)})
        return
    for left in report.left[:_SHOWN]:
        name = left.message_id or "a message without id"
        print_line(f"{styled('not replayed:', 'red', sys.stderr)} {name}: {left.error}", error=True)
    if report.failed > _SHOWN:
        print_line(f"… and {report.failed - _SHOWN:,} more that stay (--json tells them)", error=True)
    if report.in_hand:
        print_line(f"{report.in_hand:,} had no confirm: they stay, and may have arrived", error=True)
    if report.stopped:
        print_line(f"{styled('stopped:', 'yellow', sys.stderr)} {report.stopped}; start it again to go on", error=True)
    rate = f", {report.replayed / seconds:,.0f}/s" if seconds > 0.05 and report.replayed > 1 else ""
    print_line(
        f"{report.replayed:,} replayed, {report.failed:,} not, of {report.ready:,} in {queue} in {seconds:.1f} s{rate}"
    )
