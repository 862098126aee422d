"""Free TCP ports on loopback that two test runs never both get.

A port is reserved by a name in Linux's abstract socket namespace: whoever holds the name owns the port, and the kernel
gives it back when the holder dies. Ports are below the range that the kernel hands out for outgoing connections.
"""

import random
import socket

from rmqpool.testing.errors import ServicesError

__all__ = ["ReservedPort"]

_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


class ReservedPort:
    """A TCP port on 127.0.0.1 that is this object's until `release`. Not thread-safe.

    Raises `ServicesError` when no free port was found.
    """

    def __init__(self) -> None:
        self.number, self._holder = _reserve()

    def release(self) -> None:
        """Gives the port back; may be called twice."""
        self._holder.close()

    def __repr__(self) -> str:
        return f"ReservedPort({self.number})"


def _reserve() -> tuple[int, socket.socket]:
    # Not the seeded generator of the tests: two runs with one seed would try the same ports in the same order.
    for number in random.SystemRandom().sample(_RANGE, _ATTEMPTS):
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(f"\0rmqpool-testing-port-{number}")
            if _is_free(number):
                return number, holder
        except OSError:
            pass  # another run holds this one
        holder.close()
    raise ServicesError(f"No free TCP port found on 127.0.0.1 in {_RANGE.start}-{_RANGE.stop - 1}.")


def _is_free(number: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
