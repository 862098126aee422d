"""``rmqpool publish``: one message, or a file of them, each to one of five outcomes."""

from __future__ import annotations

from typing import Annotated

import typer

from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("publish")(publish)


def publish(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue; with --exchange, the routing key.")],
    body: Annotated[str | None, typer.Argument(metavar="BODY", help="The body; - reads it from stdin.")] = None,
    jsonl: Annotated[
        str | None,
        typer.Option("--jsonl", metavar="FILE", help="One message for each line, which must be JSON; - is stdin."),
    ] = None,
    exchange: Annotated[str, typer.Option(help="Publish to this exchange; QUEUE is the routing key then.")] = "",
    rate: Annotated[float | None, typer.Option(min=0.001, max=1e6, help="Messages a second at most.")] = None,
    content_type: Annotated[str | None, typer.Option(help="Instead of the detected content type.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A header (text); may be repeated.")
    ] = None,
    persistent: Annotated[
        bool, typer.Option("--persistent/--transient", help="Whether it survives a restart of the broker.")
    ] = True,
    declare: Annotated[
        bool, typer.Option("--declare", help="Declare the queue (and QUEUE.dead) first, as a worker does.")
    ] = False,
    url: UrlOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish BODY, or each line of a file, and wait for the outcomes.

    The body goes out byte for byte as given. A body that parses as JSON is application/json, any other text is
    text/plain: --content-type says otherwise. --timeout is each message's deadline (30 seconds).

    A line that is no JSON stops the run: nothing from that line on is published. It stops too when the broker gives
    no answer by a message's deadline. The last line tells how many were confirmed, returned, nacked, not sent, unknown;
    the command ends with 0 only if all were confirmed.

    \b
    Example:
      rmqpool publish orders '{"id": 7}' --declare
      rmqpool publish orders --jsonl orders.jsonl --rate 500
    """
    from rmqpool.cli.publishing.run import Job, run_job

    if (body is None) == (jsonl is None):
        raise typer.BadParameter("give either BODY or --jsonl FILE")
    if declare and exchange:
        raise typer.BadParameter("--declare is for queues: leave --exchange out")
    job = Job(
        queue=queue,
        body=body,
        jsonl=jsonl,
        exchange=exchange,
        rate=rate,
        content_type=content_type,
        headers=tuple(header or ()),
        persistent=persistent,
        declare=declare,
        timeout=timeout,
        as_json=as_json,
    )
    raise typer.Exit(run_job(job, url))
