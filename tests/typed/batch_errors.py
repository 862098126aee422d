"""What users write with BatchError, without annotations. `make check` has mypy read it, and nothing runs it."""

from rmqpool import BatchError, Delivery, Reject, Retry, Worker

worker = Worker("typed")


@worker.consumer("orders", batch=100)
def all_by_delivery(orders: list[dict[str, int]], deliveries: list[Delivery]) -> None:
    """A comprehension over deliveries."""
    failures = {delivery: Reject("no id") for order, delivery in zip(orders, deliveries, strict=True) if not order}
    if failures:
        raise BatchError(failures)


@worker.consumer("orders", batch=100)
def all_by_index(orders: list[dict[str, int]]) -> None:
    """A dict that grows, of several exceptions."""
    failures = {}
    for index, order in enumerate(orders):
        if not order:
            failures[index] = Reject("no id")
    if failures:
        raise BatchError(failures)


@worker.consumer("orders", batch=100)
def both(orders: list[dict[str, int]], deliveries: list[Delivery]) -> None:
    """A literal that names some by index and some by delivery."""
    raise BatchError({0: ValueError("odd"), deliveries[1]: Retry(delay=1), -1: Reject("last")})


@worker.consumer("orders", batch=100)
def several_kinds(orders: list[dict[str, int]], deliveries: list[Delivery]) -> None:
    """Several kinds of exceptions, and an annotation that says more than it must."""
    errors: dict[Delivery | int, BaseException] = {deliveries[0]: KeyError("id")}
    if len(deliveries) > 1:
        raise BatchError({deliveries[0]: KeyError("id"), deliveries[1]: Reject("no id")})
    raise BatchError(errors)


def refused(deliveries: list[Delivery]) -> None:
    """What is none is told."""
    BatchError({"first": Reject("no id")})  # type: ignore[dict-item]
    BatchError({deliveries[0]: "no id"})  # type: ignore[dict-item]
