"""What a client did wrong, in AMQP's own words: a reply code and a text."""

from __future__ import annotations

__all__ = ["ChannelViolation", "Violation"]


class Violation(Exception):  # noqa: N818 - a verdict on what was read, caught where it was read
    """This client's connection ends. ``code`` is AMQP's (frame-error 501, syntax-error 502, …)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class ChannelViolation(Violation):
    """Only the channel ends, as after an error of the broker's."""
