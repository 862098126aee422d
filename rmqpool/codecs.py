"""Bodies to bytes and back. Only what was asked for is decoded: pickle never, and nothing is decoded beyond a cap.

JSON is our own (rmqpool/plain_json.py); MessagePack and YAML go through kombu's serializer registry, which is
global, and any import may open it up. So everything is checked before it is called: the content type without its
parameters against ``accept``, the charset against a list, the size while decompressing.

Compression is marked by ``content_encoding: gzip``, as other languages expect it; the charset is UTF-8 then. kombu's
own mark (a header ``compression`` with a raw zlib stream that it calls gzip) is understood on receipt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from rmqpool.compression import COMPRESSIONS, DEFAULT_MAX_DECODED_SIZE, compress, compression_of, decompress
from rmqpool.errors import DecodeError, EncodeError
from rmqpool.late_imports import IMPORTING
from rmqpool.plain_json import dump_json, load_json, plain_value

__all__ = [
    "BINARY",
    "DEFAULT_ACCEPT",
    "DEFAULT_MAX_DECODED_SIZE",
    "JSON",
    "MSGPACK",
    "TEXT",
    "YAML",
    "EncodedBody",
    "decode_body",
    "encode_body",
    "needed_extra",
]

JSON = "application/json"
TEXT = "text/plain"
BINARY = "application/octet-stream"
MSGPACK = "application/x-msgpack"  # kombu's names; application/msgpack and application/yaml mean the same
YAML = "application/x-yaml"

DEFAULT_ACCEPT: tuple[str, ...] = (JSON, TEXT, BINARY)

_ALIASES = {
    "application/data": BINARY,  # kombu's "raw"
    "application/msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
    "application/yaml": YAML,
    "text/yaml": YAML,
    "text/x-yaml": YAML,
}
_KOMBU_SERIALIZERS = {MSGPACK: "msgpack", YAML: "yaml"}
_EXTRAS = {MSGPACK: "msgpack", YAML: "yaml"}  # named as the modules that they bring
_CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_NO_CHARSET = frozenset({"", "binary", "identity", "7bit", "8bit"})


class EncodedBody(NamedTuple):
    """Bytes, and the two properties that say how to read them."""

    body: bytes
    content_type: str
    content_encoding: str | None


def encode_body(body: object, content_type: str | None = None, *, compression: str | None = None) -> EncodedBody:
    """``body`` as bytes.

    bytes, bytearray and memoryview go out unchanged, whatever the content type (``application/octet-stream`` if none is
    given). str is ``text/plain`` in UTF-8. Everything else is JSON, or what ``content_type`` names: JSON (also
    ``…+json``), MessagePack, YAML; a str with such a type is encoded as a value of that format. ``compression`` is
    ``gzip`` or ``deflate``. Raises EncodeError.
    """
    if compression is None:
        return _encode(body, content_type)
    plain = _encode(body, content_type)
    compressed, content_encoding = compress(plain.body, compression)
    return EncodedBody(compressed, plain.content_type, content_encoding)


def _encode(body: object, content_type: str | None) -> EncodedBody:
    if isinstance(body, bytes):
        return EncodedBody(body, content_type or BINARY, None)
    if isinstance(body, bytearray | memoryview):
        return EncodedBody(bytes(body), content_type or BINARY, None)
    if content_type is None:
        return _encode_text(body, TEXT) if isinstance(body, str) else EncodedBody(dump_json(body), JSON, "utf-8")
    return _encode_as(body, content_type)


def _encode_as(body: object, content_type: str) -> EncodedBody:
    kind, charset = _parse(content_type)
    if kind == JSON:
        return EncodedBody(dump_json(body), content_type, "utf-8")
    if kind in _KOMBU_SERIALIZERS:
        return EncodedBody(_kombu_dumps(plain_value(body), kind), content_type, "utf-8" if kind == YAML else "binary")
    if isinstance(body, str):
        if charset is not None and _CHARSETS.get(charset) != "utf-8":
            raise EncodeError("a str is sent as UTF-8: give bytes for another charset", field="content_type")
        return _encode_text(body, content_type)
    raise EncodeError(
        f"a {type(body).__qualname__} cannot be encoded as {kind!r}: give bytes or str, "
        f"or a content type that has a codec: {JSON}, {MSGPACK}, {YAML}",
        field="content_type",
    )


def _encode_text(body: str, content_type: str) -> EncodedBody:
    try:
        return EncodedBody(body.encode(), content_type, "utf-8")
    except UnicodeEncodeError:
        raise EncodeError("body is a text with half a surrogate pair, which UTF-8 cannot hold", field="body") from None


def _kombu_dumps(value: object, kind: str) -> bytes:
    try:
        _, _, encoded = _kombu_registry().dumps(value, serializer=_KOMBU_SERIALIZERS[kind])
    except Exception as error:
        raise EncodeError(f"body cannot be encoded as {kind}: {_missing_or(error, kind)}", field="body") from error
    return encoded if isinstance(encoded, bytes) else str(encoded).encode()


def decode_body(
    body: bytes,
    content_type: str | None,
    content_encoding: str | None = None,
    headers: Mapping[str, Any] | None = None,
    *,
    accept: Collection[str] = DEFAULT_ACCEPT,
    max_decoded_size: int = DEFAULT_MAX_DECODED_SIZE,
) -> Any:
    """The value of a received body: bytes for binary, str for text, otherwise what the format holds.

    Without a content type the bytes come back as they are (decompressed). ``accept`` names content types in full; one
    that has no codec comes back as bytes. ``max_decoded_size`` (bytes) caps decompression.

    Raises DecodeError and nothing else; its ``reason`` is ``content-type``, ``charset``, ``content-encoding``,
    ``too-large`` or ``corrupt``. No error repeats the body.
    """
    kind, charset = _accepted(content_type, accept)
    compressed = compression_of(content_encoding, headers)
    charset = _charset(charset, content_encoding)
    plain = decompress(body, max_decoded_size) if compressed else bytes(body)
    if kind == JSON:
        return _decode_with(_decode_json, plain, charset, kind)
    if kind in _KOMBU_SERIALIZERS:
        return _decode_with(_kombu_loads, plain, kind, kind)
    if kind.startswith("text/"):
        return _decode_text(plain, charset)
    return plain


def _accepted(content_type: str | None, accept: Collection[str]) -> tuple[str, str | None]:
    if not content_type:
        return BINARY, None
    kind, charset = _parse(content_type)
    if kind not in _canonical(tuple(accept)):
        hint = " (pickle runs code when it is read)" if kind == "application/x-python-serialize" else ""
        raise DecodeError(
            f"content type {kind[:100]!r} is not accepted{hint}; accepted: {', '.join(accept)}", reason="content-type"
        )
    return kind, charset


@functools.lru_cache(maxsize=64)
def _canonical(accept: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_parse(name)[0] for name in accept)


@functools.lru_cache(maxsize=256)
def _parse(content_type: str) -> tuple[str, str | None]:
    """The canonical name of a content type without its parameters, and the charset parameter."""
    name, *parameters = content_type.split(";")
    kind = name.strip().lower()
    kind = JSON if kind.endswith("+json") else _ALIASES.get(kind, kind)
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            return kind, value.strip().strip('"').lower()
    return kind, None


def _charset(parameter: str | None, content_encoding: str | None) -> str:
    """Python's name of the charset. The MIME parameter wins; kombu writes the charset into the content encoding."""
    named = parameter
    if named is None:
        encoding = (content_encoding or "").strip().lower()
        named = "" if encoding in COMPRESSIONS else encoding
    if named in _NO_CHARSET:
        return "utf-8"
    if named not in _CHARSETS:
        raise DecodeError(f"charset or content encoding {named[:40]!r} is not known", reason="charset")
    return _CHARSETS[named]


def _decode_with(decode: Callable[[bytes, str], Any], body: bytes, argument: str, kind: str) -> Any:
    if not body:
        raise DecodeError(f"the body is empty, which is no {kind}")
    try:
        return decode(body, argument)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"the body is no {kind}: {_missing_or(error, kind)}") from error


def _decode_json(body: bytes, charset: str) -> Any:
    text = _decode_text(body, charset)
    return load_json(text.removeprefix("\ufeff"))  # a byte order mark may be ignored (RFC 8259, section 8.1)


def needed_extra(content_type: str) -> str | None:
    """The extra of rmqpool that bodies of this content type need, if it is not installed."""
    from importlib.util import find_spec

    extra = _EXTRAS.get(_parse(content_type)[0])
    return extra if extra is not None and find_spec(extra) is None else None


def _kombu_loads(body: bytes, kind: str) -> Any:
    return _kombu_registry().loads(body, kind, "utf-8" if kind == YAML else "binary", accept={kind})


def _kombu_registry() -> Any:
    with IMPORTING:
        from kombu.serialization import registry

    return registry


def _decode_text(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        raise DecodeError(f"the body is not {charset} at byte {error.start}", reason="charset") from None


def _missing_or(error: Exception, kind: str) -> str:
    if type(error).__name__ == "SerializerNotInstalled" or isinstance(error, ImportError):
        return f"install rmqpool[{_EXTRAS.get(kind, 'all')}]"
    return type(error).__name__
