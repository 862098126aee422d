"""``rmqpool doctor``: what is wrong with this broker and these settings, and what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.options import JsonOption, UrlOption
from rmqpool.cli.session import load, sources_of
from rmqpool.cli.terminal import print_json, print_line, styled, supports

if TYPE_CHECKING:
    from rmqpool.cli.diagnosis.finding import Finding
    from rmqpool.topology import Queue

__all__ = ["Told", "register"]

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("doctor")(doctor)


def doctor(
    url: UrlOption = None,
    module: Annotated[
        str | None,
        typer.Option(
            "--module", metavar="MODULE:WORKER", help="Look at the queues of this worker, as it declares them."
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", metavar="NAME", help="Look at this queue as Queue(NAME) declares it; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Connect stage by stage and say what is wrong and what to do.

    URL, DNS, TCP, TLS, AMQP, password, virtual host; then the broker's version and limits, permissions and alarms
    (tried with a throw-away queue), the arguments of queues, and how the pool fared with all that. Nothing that is there is
    changed.
    Ends with 0 if there is no problem (warnings do not count), with 1 if there is one.

    \b
    Example:
      rmqpool doctor --url amqps://user:password@broker.example:5671/orders
      rmqpool doctor --module workers.orders:worker --json
    """
    from rmqpool.cli.diagnosis.finding import exit_state, problem, well
    from rmqpool.errors import ConfigurationError

    told = Told(as_json)
    broker = ""
    queues = _wanted(module, queue or ())
    try:
        settings = load(url=url)
        connection = settings.connection()
    except ConfigurationError as error:
        told.tell(problem("url", str(error), "rmqpool config show tells every setting and its source"))
    else:
        from rmqpool.cli.diagnosis.run import examine

        told.tell(well("url", f"{connection.redacted_url()} (from {sources_of(settings)['url']})"))
        broker = examine(connection, queues, told.tell)
    well_enough = exit_state(told.findings)
    told.end(well_enough, broker)
    raise typer.Exit(ExitCode.OK if well_enough else ExitCode.PROBLEMS)


def _wanted(module: str | None, names: list[str] | tuple[()]) -> list[Queue]:
    """The queues to look at, once each. ConfigurationError for a name or a module that is wrong."""
    from rmqpool.topology import Queue, expand

    values = [Queue(name) for name in names]
    if module is not None:
        from rmqpool.cli.loading import load_worker
        from rmqpool.cli.worker_facts import queues_of

        values.extend(queues_of(load_worker(module)))
    return [value for value in expand(values) if isinstance(value, Queue)]


class Told:
    """Findings as they come: printed at once for people, kept for machines. ``what`` was looked at: broker, server."""

    def __init__(self, as_json: bool, what: str = "broker") -> None:
        self.findings: list[Finding] = []
        self._as_json = as_json
        self._what = what
        self._symbols = supports(sys.stdout, "✓✗→·")

    def tell(self, finding: Finding) -> None:
        self.findings.append(finding)
        if self._as_json:
            return
        from rmqpool.cli.diagnosis.finding import render

        mark, stage, lines = render(finding, symbols=self._symbols)
        colour = _COLOURS[finding.state]
        print_line(f"{styled(mark, colour)} {styled(stage, 'bold')} {lines[0]}")
        for line in lines[1:]:
            print_line(f"{' ' * (len(mark) + len(stage) + 2)}{line}")

    def end(self, well_enough: bool, version: str) -> None:
        if self._as_json:
            print_json(
                {"ok": well_enough, self._what: version, "findings": [finding.as_json() for finding in self.findings]}
            )
            return
        count = {state: sum(finding.state == state for finding in self.findings) for state in ("warning", "problem")}
        verdict = "no problem" if well_enough else f"{count['problem']} problem{'s' if count['problem'] > 1 else ''}"
        print_line()
        print_line(styled(f"{verdict}, {count['warning']} warning{'s' if count['warning'] != 1 else ''}", "bold"))
