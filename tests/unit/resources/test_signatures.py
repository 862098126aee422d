"""The pools of resources are made with the same arguments, whichever signature a type checker looks at."""

from __future__ import annotations

import inspect
from typing import Any, get_overloads

from rmqpool import AsyncResourcePool, ResourcePool


def arguments(function: Any) -> dict[str, tuple[object, object, object]]:
    """Their names with kind, default and annotation, but for what ``open`` returns."""
    parameters = inspect.signature(function).parameters
    return {
        name: (parameter.kind, parameter.default, "" if name == "open" else parameter.annotation)
        for name, parameter in parameters.items()
    }


def test_each_signature_has_all_arguments() -> None:
    """In the same order, with the same defaults."""
    made = arguments(AsyncResourcePool.__init__)
    overloads = get_overloads(AsyncResourcePool.__init__)
    assert len(overloads) == 2
    for overload in overloads:
        assert list(arguments(overload).items()) == list(made.items())


def test_threads_and_asyncio_have_the_same_arguments() -> None:
    """But for the threads."""
    blocking = arguments(ResourcePool.__init__)
    del blocking["workers"]
    assert blocking == arguments(AsyncResourcePool.__init__)
