"""Bodies to bytes and back: what was asked for is decoded, everything else is refused with a reason."""

import gzip
import json
import pickle
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.codecs import BINARY, DEFAULT_ACCEPT, JSON, MSGPACK, TEXT, YAML, EncodedBody, decode_body, encode_body
from rmqpool.errors import DecodeError, EncodeError

ALL = (*DEFAULT_ACCEPT, MSGPACK, YAML)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
NOT_TEXT = JSON_VALUES.filter(lambda value: not isinstance(value, str))


def _decoded(encoded: EncodedBody, **options):
    return decode_body(encoded.body, encoded.content_type, encoded.content_encoding, {}, **options)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\x00\xff", EncodedBody(b"\x00\xff", BINARY, None)),
        (bytearray(b"a"), EncodedBody(b"a", BINARY, None)),
        (memoryview(b"abc")[1:], EncodedBody(b"bc", BINARY, None)),
        ("é", EncodedBody("é".encode(), TEXT, "utf-8")),
        ({"id": 7}, EncodedBody(b'{"id":7}', JSON, "utf-8")),
        (None, EncodedBody(b"null", JSON, "utf-8")),
        (7, EncodedBody(b"7", JSON, "utf-8")),
    ],
)
def test_the_content_type_follows_the_body(body, expected):
    """Bytes, text, everything else."""
    assert encode_body(body) == expected


@pytest.mark.parametrize("content_type", ["image/png", "application/json; charset=utf-8", "x"])
def test_bytes_go_out_unchanged_with_any_content_type(content_type):
    """They are encoded already."""
    assert encode_body(b"raw", content_type) == EncodedBody(b"raw", content_type, None)


def test_text_with_the_type_of_a_format_is_a_value_of_it():
    """And with another type it is text."""
    assert encode_body("a", JSON).body == b'"a"'
    assert encode_body("<a/>", "application/xml") == EncodedBody(b"<a/>", "application/xml", "utf-8")


@given(JSON_VALUES, st.sampled_from([None, "gzip", "deflate"]))
def test_json_comes_back(value, compression):
    """Any JSON value, compressed or not."""
    assert _decoded(encode_body(value, compression=compression)) == value
    assert _decoded(encode_body(value, "application/cloudevents+json", compression=compression)) == value


@given(st.binary() | st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from([None, "gzip", "deflate"]))
def test_bytes_and_texts_come_back(body, compression):
    """As what they were."""
    assert _decoded(encode_body(body, compression=compression)) == body


@given(NOT_TEXT.filter(lambda value: value is not None))
def test_messagepack_comes_back(value):
    """Through kombu's registry."""
    assert _decoded(encode_body(value, "application/msgpack"), accept=ALL) == value


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "é"]}, [], {"b": True}])
def test_yaml_comes_back(value):
    """Through kombu's registry."""
    assert _decoded(encode_body(value, "application/yaml"), accept=ALL) == value


def test_messagepack_holds_bytes_and_plain_times():
    """bytes as they are, a datetime as ISO 8601 text, as in JSON."""
    encoded = encode_body({"a": b"\xff", "b": datetime(2026, 1, 2, tzinfo=UTC)}, MSGPACK)
    assert encoded.content_encoding == "binary"
    assert _decoded(encoded, accept=ALL) == {"a": b"\xff", "b": "2026-01-02T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        ({"a": 1}, "image/png", "cannot be encoded as 'image/png'"),
        ({"a": 1}, "application/x-python-serialize", "cannot be encoded"),
        ("a", "text/plain; charset=latin-1", "UTF-8"),
        ("\ud800", None, "surrogate"),
        ({"a": object()}, MSGPACK, r"body\.a"),
        ([2**70], MSGPACK, "msgpack"),
    ],
)
def test_what_cannot_be_encoded_is_refused(body, content_type, told):
    """With the reason."""
    with pytest.raises(EncodeError, match=told):
        encode_body(body, content_type)


@pytest.mark.parametrize(
    ("content_type", "content_encoding"),
    [
        ("application/json", None),
        ("application/json; charset=utf-8", None),
        ('Application/JSON ; Charset="UTF-8"', "identity"),
        ("application/problem+json", "utf-8"),
        ("application/json", "binary"),
        ("application/json", "us-ascii"),
    ],
)
def test_json_of_other_clients_is_read(content_type, content_encoding):
    """Parameters are stripped; the charset stands in either place."""
    assert decode_body(b'{"a":1}', content_type, content_encoding) == {"a": 1}


def test_a_byte_order_mark_is_ignored():
    """Some languages write one."""
    assert decode_body(b'\xef\xbb\xbf{"a":1}', JSON) == {"a": 1}


def test_the_charset_of_a_text_is_used():
    """The MIME parameter wins over kombu's content encoding."""
    assert decode_body(b"\xe9", "text/plain; charset=iso-8859-1", "utf-8") == "é"
    assert decode_body(b"\xe9", "text/plain", "latin-1") == "é"


@pytest.mark.parametrize("content_type", [None, ""])
def test_without_a_content_type_the_bytes_come_back(content_type):
    """Nothing is guessed; compression is undone."""
    assert decode_body(b"{}", content_type) == b"{}"
    assert decode_body(gzip.compress(b"{}"), content_type, "gzip") == b"{}"


def test_kombus_raw_bytes_are_bytes():
    """application/data."""
    assert decode_body(b"x", "application/data", "binary") == b"x"


def test_an_accepted_type_without_a_codec_comes_back_as_bytes():
    """Who asks for it, reads it."""
    assert decode_body(b"%PDF", "application/pdf", accept=("application/pdf",)) == b"%PDF"
    assert decode_body("é".encode(), "text/csv", accept=("text/csv",)) == "é"


@pytest.mark.parametrize(
    ("body", "content_type", "content_encoding", "reason"),
    [
        (b"", JSON, None, "corrupt"),
        (b"{", JSON, "utf-8", "corrupt"),
        (b"NaN", JSON, None, "corrupt"),
        (b"[" * 100_000, JSON, None, "corrupt"),
        (b"\xff", JSON, None, "charset"),
        (b"\xff", TEXT, None, "charset"),
        (b"{}", JSON, "zlib_codec", "charset"),
        (b"{}", "application/json; charset=rot13", None, "charset"),
        (b"{}", "application/json; charset=zlib", None, "charset"),
        (b"{}", JSON, "br", "content-encoding"),
        (b"{}", JSON, "gzip", "corrupt"),
        (zlib.compress(b""), JSON, "deflate", "corrupt"),
        (b"x", "image/png", None, "content-type"),
        (b"\x80", MSGPACK, None, "content-type"),
        (b"a: 1", "application/yaml", None, "content-type"),
        (pickle.dumps({}), "application/x-python-serialize", "binary", "content-type"),
        (b"x", "pickle", None, "content-type"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(body, content_type, content_encoding, reason):
    """A short stable word for the headers of the parked message."""
    with pytest.raises(DecodeError) as caught:
        decode_body(body, content_type, content_encoding)
    assert caught.value.reason == reason


def test_the_trap_of_kombus_text_codecs_is_closed():
    """application/data with content_encoding zlib passes kombu's JSON-only list, and blows up to 200 MB."""
    bomb = zlib.compress(bytes(2_000_000))
    with pytest.raises(DecodeError) as caught:
        decode_body(bomb, "application/data", "zlib", max_decoded_size=1000)
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize("content_type", [MSGPACK, YAML])
@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81\xa1", b"a: [", b"\x00"])
def test_damaged_messagepack_and_yaml_are_corrupt(content_type, body):
    """Whatever the library raises."""
    try:
        decode_body(body, content_type, accept=ALL)
    except DecodeError as error:
        assert error.reason == "corrupt"  # noqa: PT017 - "\x00" is a right MessagePack number
    else:
        assert (content_type, body) == (MSGPACK, b"\x00")


def test_yaml_makes_no_objects():
    """safe_load."""
    with pytest.raises(DecodeError):
        decode_body(b"!!python/object/apply:os.getcwd []", YAML, accept=ALL)


_TYPES = st.sampled_from(
    [None, "", *ALL, "application/data", "text/html", "application/x-python-serialize", ";", "a;b=c"]
)
_ENCODINGS = st.sampled_from([None, "", "utf-8", "binary", "gzip", "deflate", "zlib", "br", "utf-16", "hex", "idna"])
_HEADERS = st.sampled_from(
    [None, {}, {"compression": "gzip"}, {"compression": "application/x-gzip"}, {"compression": 1}]
)
_BODIES = (
    st.binary(max_size=200)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=50).map(gzip.compress)
    | st.binary(max_size=50).map(zlib.compress)
)


@given(_BODIES, _TYPES | st.text(max_size=20), _ENCODINGS | st.text(max_size=10), _HEADERS)
def test_any_message_is_decoded_or_refused_with_a_decode_error(body, content_type, content_encoding, headers):
    """Nothing else ever comes out, whatever a peer sends."""
    reasons = {"content-type", "charset", "content-encoding", "too-large", "corrupt"}
    try:
        decode_body(body, content_type, content_encoding, headers, accept=ALL, max_decoded_size=10_000)
    except DecodeError as error:
        assert error.reason in reasons  # noqa: PT017 - decoding is right too
