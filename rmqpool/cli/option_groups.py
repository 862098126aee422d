"""Options that belong together, as a dataclass: defined once, and taken by a command as one parameter.

``def ls(queue: QueueArgument, *, choice: Choice)`` has the options that are the fields of ``Choice``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

__all__ = ["with_option_groups"]


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` for Typer: the fields of its dataclass parameters are its options, in the places of those parameters."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if not dataclasses.is_dataclass(kind):
            options.append(parameter.replace(annotation=kind))
            continue
        assert isinstance(kind, type)
        fields = _options_of(kind)
        groups[parameter.name] = (kind, [option.name for option in fields])
        options += fields

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, (kind, fields) in groups.items():
            given[name] = kind(**{field: given.pop(field) for field in fields})
        command(**given)

    signature = inspect.Signature(options, return_annotation=None)  # refuses a name that is there twice
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options} | {"return": None}
    return run


def _options_of(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(group)
    ]
