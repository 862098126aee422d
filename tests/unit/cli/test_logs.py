"""Log lines: fit for files and machines, and without secrets."""

from __future__ import annotations

import json
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.cli.logs import JSONFormatter, RecentWarnings, TextFormatter
from rmqpool.cli.redaction import redact

SECRET = "correct-horse-battery"
ODD = 'pass"word\\ü-long'


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    """A log record of the logger ``shop``."""
    made = logging.LogRecord("shop", logging.INFO, "shop.py", 1, message, arguments, None)
    vars(made).update(extra)
    return made


def test_a_json_line_has_the_records_fields_and_extra_ones() -> None:
    """One object, one line."""
    line = JSONFormatter().format(record("order %d\nis done", 7, queue="orders", size=3))
    told = json.loads(line)
    assert "\n" not in line
    assert (told["level"], told["logger"], told["message"]) == ("info", "shop", "order 7\nis done")
    assert (told["queue"], told["size"]) == ("orders", 3)
    assert told["time"].endswith("Z")


def test_no_format_shows_a_secret() -> None:
    """Neither in the message, nor in extra fields, nor in a traceback; also one that JSON would escape."""
    made = record("url amqp://me:%s@host/ and %s", SECRET, ODD, detail={"password": [ODD]}, thing=Exception(SECRET))
    try:
        raise ValueError(f"bad {SECRET} {ODD}")
    except ValueError:
        made.exc_info = sys.exc_info()
    for formatter in (JSONFormatter([SECRET, ODD]), TextFormatter([SECRET, ODD])):
        line = formatter.format(made)
        assert SECRET not in line
        assert ODD not in line
        assert json.dumps(ODD, ensure_ascii=False)[1:-1] not in line


@given(st.text(st.characters(exclude_characters="@/:", exclude_categories=("Z", "C")), min_size=1))
def test_the_password_of_any_url_is_masked(password: str) -> None:
    """Whatever the password is, the text between ':' and '@' is gone."""
    assert redact(f"see amqps://me:{password}@host:5671/x") == "see amqps://me:**********@host:5671/x"


def test_short_passwords_do_not_garble_sentences() -> None:
    """``guest`` is a word, too."""
    assert redact("user guest is let in", ["guest"]) == "user guest is let in"


def test_recent_warnings_of_rmqpool_are_remembered_and_nothing_is_held_back() -> None:
    """Only what was written lately, as a warning at least; an empty sentence is in none."""
    recent = RecentWarnings()
    for level, name, message in (
        (logging.WARNING, "rmqpool", "attempt 1 failed: refused"),
        (logging.INFO, "rmqpool", "it runs"),
        (logging.ERROR, "shop", "sold out"),
    ):
        assert recent.filter(logging.LogRecord(name, level, "x.py", 1, message, (), None))
    assert recent.tell_of("refused")
    assert not any(recent.tell_of(sentence) for sentence in ("it runs", "sold out", ""))
    for number in range(20):
        recent.filter(logging.LogRecord("rmqpool", logging.WARNING, "x.py", 1, f"warning {number}", (), None))
    assert not recent.tell_of("refused")
