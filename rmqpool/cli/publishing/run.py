"""A publish job from its options to its exit code: settings, pool, pipeline, summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import Failure, failure_of
from rmqpool.cli.publishing.interrupt import Interrupt
from rmqpool.cli.publishing.pacing import Pacer
from rmqpool.cli.publishing.pipeline import Pipeline, Submit
from rmqpool.cli.publishing.progress import progress
from rmqpool.cli.publishing.reading import Body, body_of, json_lines, lines_of, opened, whole_stdin
from rmqpool.cli.publishing.stops import early_end
from rmqpool.cli.publishing.tally import Tally
from rmqpool.cli.session import load, open_pool
from rmqpool.cli.terminal import print_json, print_line, styled
from rmqpool.errors import RmqpoolError
from rmqpool.future import PublishFuture
from rmqpool.publisher import Publisher
from rmqpool.topology import Queue, expand

if TYPE_CHECKING:
    from rmqpool.config import Settings
    from rmqpool.pool import ConnectionPool

__all__ = ["Job", "parse_headers", "run_job"]

_SHOWN = 5  # failures that are told one by one
_CLOSE = 5.0  # seconds to close the pool


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be published, how, and how to tell of it. ``timeout`` is each message's deadline in seconds."""

    queue: str
    body: str | None
    jsonl: str | None
    exchange: str
    rate: float | None
    content_type: str | None
    headers: tuple[str, ...]
    persistent: bool
    declare: bool
    timeout: float | None
    as_json: bool


def run_job(job: Job, url: str | None) -> int:
    """Publish; print the summary; return the exit code.

    Raises RmqpoolError if nothing could be begun: a summary of a file is printed even then.
    """
    headers = parse_headers(job.headers)
    settings = load(url=url)
    tally = Tally()
    with _bodies(job) as (bodies, size):
        began = time.monotonic()
        try:
            with _connected(job, settings) as pool:
                began = time.monotonic()
                submit = _submitter(Publisher(pool, timeout=job.timeout), job, headers)
                stopped = _run(job, submit, tally, bodies, size)
                seconds = time.monotonic() - began
        except RmqpoolError as error:  # before the first line was read
            if job.jsonl is None:
                raise
            stopped, seconds = error, time.monotonic() - began
    return _tell(job, tally, stopped, seconds)


@contextmanager
def _connected(job: Job, settings: Settings) -> Iterator[ConnectionPool]:
    """An open pool, with the queue declared if that was asked for. Raises RmqpoolError."""
    pool = open_pool(settings, "publish", job.timeout)
    try:
        if job.declare:
            pool.declare_once(expand([Queue(job.queue)]), job.timeout)
        yield pool
    finally:
        pool.close(_CLOSE)


def parse_headers(texts: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as headers; values are texts. Pure. Raises a usage error."""
    headers: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"--header {text!r} is not NAME=VALUE, as in --header tenant=a")
        headers[name] = value
    return headers


@contextmanager
def _bodies(job: Job) -> Iterator[tuple[Iterator[Body], int | None]]:
    """What to publish, and how many bytes that is, if one can know."""
    if job.jsonl is None:
        given = whole_stdin() if job.body == "-" else job.body or ""
        yield iter([body_of(given, job.content_type)]), None
        return
    with opened(job.jsonl) as file:
        size = Path(job.jsonl).stat().st_size if job.jsonl != "-" else None
        yield json_lines(lines_of(file), _source(job.jsonl), job.content_type), size or None


def _source(jsonl: str) -> str:
    return "stdin" if jsonl == "-" else jsonl


def _submitter(publisher: Publisher, job: Job, headers: dict[str, str]) -> Submit:
    def submit(body: Body) -> PublishFuture:
        return publisher.submit_to(
            job.exchange,
            job.queue,
            body.content,
            content_type=body.content_type,
            headers=headers or None,
            persistent=job.persistent,
        )

    return submit


def _run(
    job: Job, submit: Submit, tally: Tally, bodies: Iterator[Body], size: int | None
) -> RmqpoolError | KeyboardInterrupt | None:
    with progress(size, wanted=job.jsonl is not None and not job.as_json) as update, Interrupt() as interrupt:
        try:
            return Pipeline(submit, tally, interrupt, Pacer(job.rate), update).run(bodies)
        except KeyboardInterrupt as error:
            return error


def _tell(job: Job, tally: Tally, stopped: RmqpoolError | KeyboardInterrupt | None, seconds: float) -> int:
    failure = _failure(job, tally, stopped)
    code = failure.exit_code if failure else ExitCode.PROBLEMS if tally.failed else ExitCode.OK
    if job.as_json:
        error = failure.as_json() if failure else {}
        print_json({**tally.as_json(seconds), **error})
        return code
    for failed in tally.failures[:_SHOWN]:
        where = f"line {failed.line}: " if job.jsonl is not None else ""
        print_line(f"{styled('not confirmed:', 'red', sys.stderr)} {where}{failed.error}", error=True)
    if tally.failed > _SHOWN:
        print_line(f"… and {tally.failed - _SHOWN} more that were not confirmed (--json tells them)", error=True)
    if failure:
        print_line(f"{styled('rmqpool:', 'red', sys.stderr)} {failure.message}", error=True)
    if job.jsonl is not None and not failure and not tally.last_line:
        print_line(f"note: {_source(job.jsonl)} was empty or blank: there was nothing to publish", error=True)
    print_line(tally.summary(seconds))
    return code


def _failure(job: Job, tally: Tally, stopped: RmqpoolError | KeyboardInterrupt | None) -> Failure | None:
    """Why the run ended before its input did."""
    if job.jsonl is not None:
        return early_end(tally, stopped)
    if isinstance(stopped, KeyboardInterrupt):
        return Failure("Interrupted", "interrupted", ExitCode.INTERRUPTED)
    return None if stopped is None else failure_of(stopped)
