"""No log line carries a secret: passwords inside URLs, and the configured ones, are masked in the finished text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rmqpool.secret import MASK

__all__ = ["redact"]

_URL_PASSWORD = re.compile(r"(?P<start>\b[a-z][a-z0-9+.-]*://[^\s:/@]*):(?P<password>[^\s@/]+)@", re.IGNORECASE)
_SHORTEST = 8  # a shorter password (guest) is also a word: masking it would garble sentences, and tell what it is


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with the passwords of URLs, and every one of ``secrets`` of at least 8 characters, masked."""
    if "://" in text:
        text = _URL_PASSWORD.sub(lambda found: f"{found['start']}:{MASK}@", text)
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MASK)
    return text
