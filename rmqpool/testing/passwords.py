"""Passwords of the services that tests start: random, and all with one mark, so that a leaked one is found by a search."""

import re
import secrets
from typing import Final

__all__ = ["MARK", "ShownUrl", "new_password"]

MARK: Final = "canary7Q"  # a word that nothing else has in it, and that no URL needs to encode


def new_password() -> str:
    """A password of its own that begins with `MARK`."""
    return f"{MARK}{secrets.token_hex(8)}"


class ShownUrl(str):
    """A URL whose repr has no password: pytest prints the arguments of a failed test."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:***@", str(self)))
