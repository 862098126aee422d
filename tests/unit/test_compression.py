"""Compressed bodies: what other languages expect, and never more than the cap."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.compression import compress as kombu_compress

from rmqpool.compression import compress, compression_of, decompress
from rmqpool.errors import DecodeError, EncodeError

MEGABYTE = 1024 * 1024


@given(st.binary(max_size=5000), st.sampled_from(["gzip", "deflate"]))
def test_a_compressed_body_comes_back(body, compression):
    """Both ways."""
    compressed, encoding = compress(body, compression)
    assert encoding == compression
    assert decompress(compressed) == body


def test_gzip_is_gzip_and_the_same_bytes_each_time():
    """What kombu calls gzip is not; and a resent message is equal to the first."""
    compressed, _ = compress(b"text", "gzip")
    assert gzip.decompress(compressed) == b"text"
    assert compress(b"text", "gzip")[0] == compressed


def test_kombus_gzip_is_understood():
    """It is raw zlib."""
    compressed, name = kombu_compress(b"text", "gzip")
    assert compression_of("utf-8", {"compression": name})
    assert decompress(compressed) == b"text"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_bomb_is_stopped_at_the_cap(pack):
    """A body that holds 200 MB is refused, and no more memory than a small multiple of the cap is ever taken."""
    bomb = pack(bytes(200 * MEGABYTE), 1)  # the quickest way to pack them
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="larger than 1048576 bytes") as caught:
            decompress(bomb, MEGABYTE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too-large"
    assert peak < 4 * MEGABYTE


def test_a_body_of_exactly_the_cap_passes():
    """The cap is what may be, not what may not."""
    assert len(decompress(gzip.compress(bytes(1000)), 1000)) == 1000
    with pytest.raises(DecodeError):
        decompress(gzip.compress(bytes(1001)), 1000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        gzip.compress(b"text", mtime=0)[:-1],
        zlib.compress(b"text")[:-1],
        gzip.compress(b"a", mtime=0) * 2,
        b"\x1f\x8b",
    ],
)
def test_a_damaged_body_is_corrupt(body):
    """Cut off, no compression at all, or something behind the end."""
    with pytest.raises(DecodeError) as caught:
        decompress(body)
    assert caught.value.reason == "corrupt"


@given(st.binary(max_size=300))
def test_any_bytes_decompress_or_are_refused(body):
    """Nothing but DecodeError."""
    for candidate in (body, b"\x1f\x8b\x08" + body, b"\x78\x9c" + body):
        try:
            assert isinstance(decompress(candidate, 1000), bytes)
        except DecodeError as error:
            assert error.reason in ("corrupt", "too-large")  # noqa: PT017 - either way is right


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip ", "deflate", "zlib", "application/x-gzip"])
def test_a_compression_is_known_by_property_or_header(encoding):
    """The property is everybody's, the header is kombu's."""
    assert compression_of(encoding, None)
    assert compression_of("utf-8", {"compression": encoding})


@pytest.mark.parametrize("encoding", [None, "", "utf-8", "binary", "latin-1"])
def test_a_charset_is_no_compression(encoding):
    """kombu writes the charset into the content encoding."""
    assert not compression_of(encoding, {})


@pytest.mark.parametrize(
    ("encoding", "headers"),
    [
        ("br", None),
        ("zstd", None),
        (None, {"compression": "application/x-bz2"}),
        (None, {"compression": "utf-8"}),
        (None, {"compression": ""}),
        (None, {"compression": 5}),
        ("gzip", {"compression": "gzip"}),
    ],
)
def test_an_unknown_or_doubled_compression_is_refused(encoding, headers):
    """By its own reason."""
    with pytest.raises(DecodeError) as caught:
        compression_of(encoding, headers)
    assert caught.value.reason == "content-encoding"


@pytest.mark.parametrize("name", ["zstd", "", "GZIP", None])
def test_only_two_compressions_are_written(name):
    """gzip and deflate."""
    with pytest.raises(EncodeError, match="gzip"):
        compress(b"", name)
