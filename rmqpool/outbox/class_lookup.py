"""Which of our modules is for an object, by its class: no library is imported that the application does not use."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["module_for"]


def module_for(kind: type, modules: Mapping[tuple[str, str], str]) -> str | None:
    """The module of the first class, from ``kind`` upwards, that ``modules`` knows; None if it knows none.

    Its keys are the first module of a class's path, and the class's name.
    """
    for base in kind.__mro__:
        module = modules.get((base.__module__.partition(".")[0], base.__name__))
        if module is not None:
            return module
    return None
