"""What has ended the connection of all once is not let through a second time. Pure: the clock is passed in.

Some errors of RabbitMQ's end a whole connection (540), and depend on a queue's type, which an agent cannot know: basic.get from a
stream, purging one, consuming it without acknowledgements, a global prefetch with a quorum queue. The broker's words name the
queue, so that they can be learnt from.
"""

from __future__ import annotations

import re
from typing import Any

from rmqpool.agent import methods
from rmqpool.agent.violation import Violation

__all__ = ["Lessons"]

_KNOWN_FOR = 600.0  # seconds: a queue may be made anew, of another type
_MOST = 1000
_NOT_IMPLEMENTED = 540
_QUEUE = re.compile(r"queue '(.*?)' in vhost '")
_SIGNS = {  # words of the broker's, and the method that they are about
    "basic.get": methods.GET,
    "queue.purge": methods.PURGE,
    "automatic acknowledgement": methods.CONSUME,
    "global qos": methods.QOS,  # said of a basic.consume after a global basic.qos
}
_NO_ACK = 2


class Lessons:
    """Of one agent. Its connections may share it among threads: each call is one operation of a dict."""

    def __init__(self) -> None:
        self._learnt: dict[tuple[int, bytes], tuple[float, str]] = {}

    def learn(self, code: int, text: str, now: float) -> bool:
        """The broker has ended a connection in these words; ``now``: monotonic seconds. True if it is of use."""
        queue = _QUEUE.search(text)
        method = next((method for sign, method in _SIGNS.items() if sign in text), None)
        if code != _NOT_IMPLEMENTED or queue is None or method is None:
            return False
        if len(self._learnt) >= _MOST:
            self._learnt.clear()
        self._learnt[method, queue[1].encode()] = now + _KNOWN_FOR, text
        return True

    def check(self, method: int, arguments: list[Any], is_global: bool, now: float) -> None:
        """A method with well-formed arguments, on a channel whose prefetch ``is_global`` or not. Raises Violation."""
        if not self._learnt:
            return
        for sign in _signs_of(method, arguments, is_global):
            until, text = self._learnt.get((sign, arguments[1]), (0.0, ""))
            if now < until:
                raise Violation(_NOT_IMPLEMENTED, text)


def _signs_of(method: int, arguments: list[Any], is_global: bool) -> list[int]:
    if method in (methods.GET, methods.PURGE):
        return [method]
    if method == methods.CONSUME:
        return ([method] if arguments[3] & _NO_ACK else []) + ([methods.QOS] if is_global else [])
    return []
