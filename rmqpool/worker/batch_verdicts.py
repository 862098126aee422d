"""What a handler of batches raises to say what becomes of some of its messages. A verdict, not an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from rmqpool.errors import ConfigurationError
from rmqpool.message import Delivery

__all__ = ["BatchError", "named_in"]


class BatchError(Exception):
    """These messages of the batch were not handled; all others were, and are acknowledged.

    ``failures`` says it for each, named by its Delivery or by its index in the list that the handler got: ``Reject("why")``
    parks it, ``Retry(delay=…)`` tries it again, and any other exception does what it does when a handler raises it. With an
    inbox the transaction is rolled back, and the handler is called again with the others.

    It stands outside the tree of ``rmqpool.errors``, as Reject and Retry do. Raises ConfigurationError if it names nothing,
    or if something else than an exception stands for a message.
    """

    # A Mapping is invariant in its key: a dict that names all messages in one of the two ways is no Mapping of both.
    @overload
    def __init__(self, failures: Mapping[Delivery | int, BaseException]) -> None: ...
    @overload
    def __init__(self, failures: Mapping[Delivery, BaseException]) -> None: ...
    @overload
    def __init__(self, failures: Mapping[int, BaseException]) -> None: ...
    def __init__(self, failures: Mapping[Any, BaseException]) -> None:
        if not isinstance(failures, Mapping):
            raise ConfigurationError(
                f"BatchError takes a dict, not {type(failures).__name__}: each message that failed, by its index or delivery, "
                "and why, as in BatchError({0: error})"
            )
        if not failures:
            raise ConfigurationError(
                f"BatchError({failures!r}) names no message: raise it only if some failed, as in BatchError({{0: error}})"
            )
        for key, failure in failures.items():
            if not isinstance(failure, BaseException) or isinstance(failure, BatchError):
                raise ConfigurationError(
                    f"BatchError says {failure!r} of message {key!r}: give an exception, such as Reject('no customer')"
                )
        super().__init__(f"{len(failures)} messages of a batch failed")
        self.failures: dict[Delivery | int, BaseException] = dict(failures)


def named_in(error: BatchError, deliveries: Sequence[Delivery]) -> dict[Delivery, BaseException]:
    """The failures by delivery. Raises ConfigurationError if one names something that is not in the batch."""
    named: dict[Delivery, BaseException] = {}
    members = set(deliveries)
    for key, failure in error.failures.items():
        if isinstance(key, int) and not isinstance(key, bool) and -len(deliveries) <= key < len(deliveries):
            named[deliveries[key]] = failure
        elif isinstance(key, Delivery) and key in members:
            named[key] = failure
        else:
            raise ConfigurationError(
                f"BatchError names {key!r}, which is not in its batch of {len(deliveries)} messages: name a Delivery, or "
                "its index in the list that the handler got"
            )
    return named
