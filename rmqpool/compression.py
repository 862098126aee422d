"""Bodies are compressed as HTTP does it, and never decompressed beyond a cap: 194 kB can hold 200 MB."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from rmqpool.errors import DecodeError, EncodeError

__all__ = ["COMPRESSIONS", "DEFAULT_MAX_DECODED_SIZE", "compress", "compression_of", "decompress"]

DEFAULT_MAX_DECODED_SIZE = 64 * 1024 * 1024
"""Bytes."""

_GZIP = 16 + zlib.MAX_WBITS  # a gzip header without a time: equal bodies, equal bytes (zlib manual, deflateInit2)
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib reads the header and knows which (zlib manual, inflateInit2)
COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "zlib", "application/x-gzip"})
_UNSUPPORTED = frozenset(
    {
        "br",
        "brotli",
        "bzip",
        "bzip2",
        "compress",
        "lz4",
        "lzma",
        "snappy",
        "xz",
        "zstd",
        "application/x-brotli",
        "application/x-bz2",
        "application/x-lzma",
        "application/zstd",
    }
)


def compress(body: bytes, compression: str) -> tuple[bytes, str]:
    """The compressed body and its content encoding. ``gzip`` (RFC 1952) or ``deflate`` (the zlib format, RFC 1950).

    Raises EncodeError for another name.
    """
    if compression == "gzip":
        return zlib.compress(body, 9, wbits=_GZIP), "gzip"
    if compression == "deflate":
        return zlib.compress(body), "deflate"
    raise EncodeError(f"compression is {compression!r}; it must be 'gzip' or 'deflate'", field="compression")


def compression_of(content_encoding: str | None, headers: Mapping[str, Any] | None) -> bool:
    """Whether the body is compressed: by its content encoding, or by kombu's header ``compression``.

    Raises DecodeError (``content-encoding``) for one that is not supported, and if both are there.
    """
    by_property = _is_compression(content_encoding, "content encoding")
    header = (headers or {}).get("compression")
    if header is None:
        return by_property
    if not isinstance(header, str) or not _is_compression(header, "header 'compression'"):
        raise DecodeError("the header 'compression' names no compression that is known", reason="content-encoding")
    if by_property:
        raise DecodeError(
            "content encoding and header 'compression' both name a compression", reason="content-encoding"
        )
    return True


def _is_compression(name: str | None, where: str) -> bool:
    lowered = (name or "").strip().lower()
    if lowered in _UNSUPPORTED:
        raise DecodeError(f"the {where} is {lowered!r}; gzip and deflate are supported", reason="content-encoding")
    return lowered in COMPRESSIONS


def decompress(body: bytes, max_decoded_size: int = DEFAULT_MAX_DECODED_SIZE) -> bytes:
    """The body of a gzip or zlib stream. Never makes more than ``max_decoded_size`` + 1 bytes.

    Raises DecodeError: ``too-large``, or ``corrupt`` for a broken or cut stream and for data behind its end.
    """
    stream = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    try:
        decoded = stream.decompress(body, max_decoded_size + 1)
    except zlib.error:
        raise DecodeError("the compressed body is corrupt: neither gzip nor zlib, or damaged") from None
    if len(decoded) > max_decoded_size:
        raise DecodeError(
            f"decompressed, the body is larger than {max_decoded_size} bytes: raise max_decoded_size if that is meant",
            reason="too-large",
        )
    if not stream.eof:
        raise DecodeError("the compressed body is corrupt: it is cut off")
    if stream.unused_data:
        raise DecodeError("the compressed body is corrupt: there is data behind its end")
    return decoded
