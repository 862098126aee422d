"""Names of tables: quoted whatever they hold, and never shortened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.errors import ConfigurationError
from rmqpool.outbox.tables import Tables, quote_identifier, quote_literal

NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=10)


def test_default_names_are_plain() -> None:
    """Without a word about names everything is called rmqpool_something, found by the search path."""
    tables = Tables()
    names = ["outbox", "held", "stalled", "dead", "scheduled", "inbox", "migrations"]
    assert [getattr(tables, name) for name in names] == [f'"rmqpool_{name}"' for name in names]
    assert (tables.channel, tables.channel_name) == ('"rmqpool_outbox"', "rmqpool_outbox")


@given(NAMES, NAMES)
def test_every_name_is_quoted(schema: str, prefix: str) -> None:
    """A quoted name, read as Postgres reads it, is the name again, and every name fits."""
    tables = Tables(schema, prefix)
    assert tables.outbox == f"{quote_identifier(schema)}.{quote_identifier(prefix + '_outbox')}"
    quoted = quote_identifier(prefix)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "").count('"') == 0
    assert quoted[1:-1].replace('""', '"') == prefix
    assert len(tables.index("outbox_lane_id").encode()) - 2 - prefix.count('"') <= 63


@given(NAMES)
def test_a_literal_is_read_back(text: str) -> None:
    """Quotes are doubled; with a backslash the literal says itself how it is to be read."""
    quoted = quote_literal(text)
    if "\\" in text:
        assert quoted.startswith("E'")
        assert quoted[2:-1].replace("\\\\", "\\").replace("''", "'") == text
    else:
        assert quoted[1:-1].replace("''", "'") == text


@pytest.mark.parametrize("name", ["", "nul\0", "x" * 64, "ü" * 32, "\ud800", 7])
def test_a_name_that_postgres_would_refuse_or_shorten_is_refused(name: str) -> None:
    """Empty, with a NUL, too long in bytes, no UTF-8, no text: said which and what."""
    with pytest.raises(ConfigurationError, match="the outbox's schema"):
        Tables(schema=name)
    with pytest.raises(ConfigurationError, match="the outbox's prefix"):
        Tables(prefix=name)


def test_the_longest_names_leave_room_for_what_is_made_of_them() -> None:
    """A schema may have 63 bytes, a prefix as many as leave room for an index."""
    Tables(schema="x" * 63, prefix="x" * 44)
    with pytest.raises(ConfigurationError, match="at most 44"):
        Tables(prefix="x" * 45)
