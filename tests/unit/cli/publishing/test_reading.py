"""Bodies from texts and lines."""

from __future__ import annotations

import io
import json

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.cli.failures import ReportedError
from rmqpool.cli.publishing.reading import Body, body_of, json_lines, lines_of
from rmqpool.cli.publishing.run import parse_headers


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ('{"id": 7}', "application/json"),
        ("42", "application/json"),
        ("hello", "text/plain"),
        ("NaN", "text/plain"),
        ("", "text/plain"),
        ("{", "text/plain"),
        (b"\xff\xfe", "application/octet-stream"),
    ],
)
def test_the_content_type_is_what_the_body_parses_as(text: str | bytes, content_type: str) -> None:
    """And the bytes are those given."""
    body = body_of(text, None)
    assert body.content_type == content_type
    assert body.content == (text.encode() if isinstance(text, str) else text)
    assert body_of(text, "text/csv").content_type == "text/csv"


@given(st.lists(st.one_of(st.integers(), st.text(), st.dictionaries(st.text(), st.booleans()))))
def test_every_line_of_json_is_a_body_with_its_number(values: list[object]) -> None:
    """Blank lines count as lines, and are no bodies."""
    lines = [json.dumps(value).encode() for value in values]
    file = io.BytesIO(b"".join(line + b"\r\n\n" for line in lines))
    bodies = list(json_lines(lines_of(file), "file", None))
    assert [body.content for body in bodies] == lines
    assert [body.line for body in bodies] == list(range(1, 2 * len(lines), 2))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "not JSON"),
        (b"NaN", "not JSON"),
        (b'"\xff"', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1 2", "not JSON"),
    ],
)
def test_a_wrong_line_is_told_with_file_and_number(line: bytes, told: str) -> None:
    """The bodies before it came out first."""
    found: list[Body] = []
    with pytest.raises(ReportedError, match=rf"orders\.jsonl:3: .*{told}") as caught:
        found.extend(json_lines(iter([b"1\n", b"\n", line]), "orders.jsonl", None))
    assert caught.value.facts["line"] == 3
    bodies = json_lines(iter([b"1\n", b"\n", line]), "orders.jsonl", None)
    assert next(bodies).content == b"1"


def test_a_byte_order_mark_is_no_part_of_the_first_body() -> None:
    """Some editors write one."""
    assert next(json_lines(iter([b"\xef\xbb\xbf{}\n"]), "file", None)).content == b"{}"


def test_headers_are_names_and_texts() -> None:
    """The first '=' separates; anything without one is refused."""
    assert parse_headers(["a=b=c", "empty="]) == {"a": "b=c", "empty": ""}
    with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
        parse_headers(["alone"])
