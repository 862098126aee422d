"""The statements: one text, with each driver's placeholders, and names that are no placeholders."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from rmqpool.outbox.statements import Style, insert_rows, insert_scheduled, lock_class
from rmqpool.outbox.tables import Tables

ODD = Tables(schema="s%:a$1{x}", prefix="p\"r:e'f%i{x}\\:p1")
PLACEHOLDERS: dict[Style, str] = {"dollar": r"\$(\d+)", "pyformat": r"%\(p(\d+)\)s", "colon": r"(?<![:\\\w]):p(\d+)"}


@pytest.mark.parametrize("style", list(PLACEHOLDERS))
def test_parameters_are_numbered_in_order(style: Style) -> None:
    """Eight columns, and two more for the time, each once and in order."""
    found = re.findall(PLACEHOLDERS[style], insert_rows(Tables(), style))
    assert found == [str(number) for number in range(1, 9)]
    found = re.findall(PLACEHOLDERS[style], insert_scheduled(Tables(), style))
    assert sorted(found, key=int) == [str(number) for number in range(1, 11)]


def test_all_styles_are_one_text() -> None:
    """But for placeholders the statement is the same for every driver."""
    texts = {re.sub(pattern, "?", insert_rows(Tables(), style)) for style, pattern in PLACEHOLDERS.items()}
    assert len(texts) == 1


@pytest.mark.parametrize("ring", [True, False])
def test_odd_names_come_out_of_each_style_as_they_are(ring: bool) -> None:
    """What a library makes of its placeholders' escapes is the name again."""
    dollar = insert_rows(ODD, "dollar", ring=ring)
    assert ODD.outbox in dollar
    names = {f"p{number}": f"${number}" for number in range(1, 9)}
    assert insert_rows(ODD, "pyformat", ring=ring) % names == dollar
    compiled = text(insert_rows(ODD, "colon", ring=ring)).compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    assert set(compiled.params) == set(names)
    assert str(compiled) % names == dollar


def test_the_bell_is_left_out_on_demand() -> None:
    """Without the bell there is neither a lock nor a NOTIFY; with it the lock is freed in the same statement."""
    assert "lock" not in insert_rows(Tables(), "dollar", ring=False)
    assert "notify" not in insert_scheduled(Tables(), "dollar")
    ringing = insert_rows(Tables(), "dollar")
    assert ringing.count("pg_try_advisory_lock_shared") == ringing.count("pg_advisory_unlock_shared") == 1
    assert "xact" not in ringing


def test_the_class_of_locks_is_about_the_table() -> None:
    """The name of the table stands in the expression as a literal."""
    assert "'\"rmqpool_outbox\"' AS regclass" in lock_class(Tables().outbox)
