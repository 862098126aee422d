"""Signatures that tell a receiver who sent a request, and when. Pure: the time is passed in.

``standard``: https://www.standardwebhooks.com, for which there are libraries in most languages. ``stripe``:
https://docs.stripe.com/webhooks#verify-manually. ``github``: without a time, so an old request can be sent again by
whoever saw it; https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Literal

__all__ = ["Style", "signature_headers"]

Style = Literal["standard", "stripe", "github"]
_PREFIX = "whsec_"


def signature_headers(style: Style, keys: Sequence[str], message_id: str, now: int, body: bytes) -> dict[str, str]:
    """The headers for a request made at ``now`` (seconds since 1970), signed with each of ``keys``; {} without a key.

    GitHub's form has room for one signature: the first key's.
    """
    if not keys:
        return {}
    if style == "github":
        return {"x-hub-signature-256": f"sha256={_digest(keys[0].encode(), body).hex()}"}
    if style == "stripe":
        signed = b"%d." % now + body
        parts = [f"t={now}", *(f"v1={_digest(key.encode(), signed).hex()}" for key in keys)]
        return {"stripe-signature": ",".join(parts)}
    signed = f"{message_id}.{now}.".encode() + body
    signatures = (base64.b64encode(_digest(_standard_key(key), signed)).decode() for key in keys)
    return {"webhook-signature": " ".join(f"v1,{signature}" for signature in signatures)}


def _digest(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, hashlib.sha256)


def _standard_key(key: str) -> bytes:
    """``whsec_`` and base64 are the specification's form; any other text is a key as it stands."""
    if key.startswith(_PREFIX):
        try:
            return base64.b64decode(key.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return key.encode()
