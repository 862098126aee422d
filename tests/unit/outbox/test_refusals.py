"""The advice that stands in errors: commands and GRANTs with the names of the outbox."""

from __future__ import annotations

import shlex

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.outbox.refusals import command, relay_trouble, schema_reason
from rmqpool.outbox.rights import grants
from rmqpool.outbox.tables import Tables

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=10)


@given(st.none() | NAMES, NAMES)
def test_the_command_names_what_is_not_the_default(schema: str | None, prefix: str) -> None:
    """A shell reads the same names from it."""
    expected = ["rmqpool", "outbox", "migrate"]
    expected += [] if schema is None else ["--schema", schema]
    expected += [] if prefix == "rmqpool" else ["--prefix", prefix]
    assert shlex.split(command(Tables(schema, prefix))) == expected


def test_grants_are_statements_with_quoted_names() -> None:
    """The schema comes first: without it nothing else is of use."""
    assert grants(Tables('my "s"', "p"), "handle", "me") == [
        'GRANT USAGE ON SCHEMA "my ""s""" TO "me"',
        'GRANT SELECT ON "my ""s"""."p_migrations" TO "me"',
        'GRANT SELECT, INSERT ON "my ""s"""."p_inbox" TO "me"',
    ]
    assert grants(Tables(), "write", None)[1] == 'GRANT INSERT ON "rmqpool_outbox", "rmqpool_scheduled" TO the role'


def test_only_tables_and_rights_have_a_reason() -> None:
    """Other codes are other people's business."""
    for sqlstate, word in (("42P01", "migrate"), ("3F000", "schema"), ("42703", "version"), ("42501", "GRANT INSERT")):
        assert word in (schema_reason(sqlstate, Tables(prefix="x"), "write") or "")
    assert schema_reason("40001", Tables(), "write") is None
    assert schema_reason(None, Tables(), "write") is None


def test_a_relay_tells_what_to_grant() -> None:
    """In its trouble and its log; other errors are told in their own words."""
    told = relay_trouble(psycopg.errors.InsufficientPrivilege("permission denied"), Tables(prefix="shop"))
    assert 'GRANT INSERT ON "shop_dead"' in told
    assert told.endswith("(Postgres said: permission denied)")
    assert relay_trouble(psycopg.OperationalError(" the connection is lost\n"), Tables()) == "the connection is lost"
