"""A secret is shown by one method only, `reveal`. Every other way to look at it shows a mask of fixed length."""

from __future__ import annotations

from typing import Any, NoReturn, final

from rmqpool.late_imports import IMPORTING

__all__ = ["MASK", "Secret"]

MASK = "**********"


@final
class Secret:
    """A password or key. ``repr``, ``str`` and ``format`` show a mask; :meth:`reveal` gives the text.

    It is not a ``str``, so that no serializer writes it down by accident, and pickling it raises TypeError.
    Immutable and thread-safe.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a Secret wraps a str, not {type(text).__name__}")
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """The secret itself. Call it where it goes onto the wire, and keep the result in no attribute."""
        text: str = object.__getattribute__(self, "_text")
        return text

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, specification: str) -> str:
        return format(MASK, specification)

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        with IMPORTING:
            import hmac  # loads OpenSSL's hashes, which nothing else here needs

        return hmac.compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a Secret is not pickled: give the other process the URL through its environment or a file")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")
