"""Conditions on messages, ``header.tenant == "a" and age > 3600``: Python's own syntax, a few nodes of it, never its objects.

The text is parsed, checked node by node, and compiled to closures over plain values. There are no calls, no arithmetic
and no attributes: a step of a path looks into a mapping or a list, and nothing else. What is not there is ``None``.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from rmqpool.errors import ConfigurationError

__all__ = ["Condition", "parse_condition"]

Lookup = Callable[[str], Any]
_Value = Callable[[Lookup], Any]

_LONGEST = 2000  # characters
_DEEPEST = 50  # nested operators
_WORDS = {"true": True, "false": False, "null": None}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_HINTS = {"=": "; equality is written ==", "&": "; write and", "|": "; write or", "!": "; write not"}
_ALLOWED = "only names, texts, numbers, lists, comparisons, in, and, or, not and parentheses are"


class Condition:
    """A parsed condition. Immutable and thread-safe."""

    __slots__ = ("_evaluate", "text")

    def __init__(self, text: str, evaluate: _Value) -> None:
        self.text = text
        self._evaluate = evaluate

    def __call__(self, lookup: Lookup) -> bool:
        """Whether it holds. ``lookup(name)`` gives the plain value (as JSON has them) of one of the names, or None.

        Values of kinds that cannot be compared (a text with a number) do not hold, whichever way they are compared;
        only ``!=`` and ``not in`` hold then.
        """
        return bool(self._evaluate(lookup))

    def __repr__(self) -> str:
        return f"<Condition {self.text!r}>"


def parse_condition(text: str, values: Mapping[str, bool]) -> Condition:
    """Parse a condition. ``values`` are the names there are, and whether each has parts (``header.x``, ``body["a"]``).

    Raises ConfigurationError, which tells the column (from 1) and what is wrong there.
    """
    if len(text) > _LONGEST:
        raise ConfigurationError(f"the condition has {len(text):,} characters; at most {_LONGEST:,} are taken")
    if "\n" in text or "\r" in text:
        raise ConfigurationError("the condition has more than one line: write it in one")
    stripped = text.lstrip(" \t")
    if not stripped:
        raise ConfigurationError("the condition is empty; an example is: reason == 'exception' and age > 3600")
    return Condition(text, _Parser(text, len(text) - len(stripped), values).parse(stripped.rstrip()))


class _Parser:
    """One parse; ``indent`` is how many blanks stood before the text that Python reads."""

    def __init__(self, text: str, indent: int, values: Mapping[str, bool]) -> None:
        self._text = text
        self._indent = indent
        self._values = values

    def parse(self, stripped: str) -> _Value:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a backslash in a text that Python does not know
                tree = ast.parse(stripped, mode="eval")
        except SyntaxError as error:
            offset = error.offset or len(stripped) + 1  # 0: the text ended too early
            hint = _HINTS.get(stripped[offset - 1 : offset], "")
            raise self._error(offset + self._indent, f"{error.msg or 'this cannot be read'}{hint}") from None
        except (ValueError, RecursionError, MemoryError):
            raise self._error(1, "this cannot be read: it is nested too deeply, or has a null byte") from None
        return self._value(tree.body, 0)

    def _value(self, node: ast.expr, depth: int) -> _Value:
        if depth > _DEEPEST:
            raise self._at(node, f"more than {_DEEPEST} levels of nesting")
        if isinstance(node, ast.BoolOp):
            return _joined(isinstance(node.op, ast.And), [self._value(part, depth + 1) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._value(node.operand, depth + 1)
            return lambda lookup: not inner(lookup)
        if isinstance(node, ast.Compare):
            return self._comparison(node, depth)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            return self._path(node)
        literal = self._literal(node, depth)
        return lambda lookup: literal

    def _comparison(self, node: ast.Compare, depth: int) -> _Value:
        operands = [self._value(part, depth + 1) for part in (node.left, *node.comparators)]
        for compare, operand in zip(node.ops, node.comparators, strict=True):
            if type(compare) not in _COMPARISONS:
                raise self._at(operand, "'is' is not allowed: write == or !=")
        steps = [
            (_COMPARISONS[type(compare)], isinstance(compare, ast.NotEq | ast.NotIn), left, right)
            for compare, left, right in zip(node.ops, operands, operands[1:], strict=False)
        ]
        return lambda lookup: all(_holds(*step, lookup) for step in steps)

    def _path(self, node: ast.expr) -> _Value:
        steps: list[str | int] = []
        at: ast.expr = node
        while not isinstance(at, ast.Name):
            if isinstance(at, ast.Attribute):
                steps.append(at.attr)
            elif isinstance(at, ast.Subscript):
                steps.append(self._key(at.slice))
            else:
                raise self._at(at, f"{_kind(at)} is not allowed; {_ALLOWED}")
            at = at.value
        if at.id in _WORDS and not steps:
            word = _WORDS[at.id]
            return lambda lookup: word
        self._check_name(at, bool(steps))
        name, path = at.id, tuple(reversed(steps))
        return lambda lookup: _walk(lookup(name), path)

    def _check_name(self, node: ast.Name, has_steps: bool) -> None:
        if node.id not in self._values:
            raise self._at(node, f"{node.id!r} is no name here; there are {', '.join(sorted(self._values))}")
        if has_steps and not self._values[node.id]:
            raise self._at(node, f"{node.id!r} is one value and has no parts")

    def _key(self, node: ast.expr) -> str | int:
        key = self._literal(node, 0)
        if isinstance(key, str) or type(key) is int:
            return key
        raise self._at(node, "in brackets stands a text or a whole number")

    def _literal(self, node: ast.expr, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self._at(node, f"more than {_DEEPEST} levels of nesting")
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str | int | float)):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self._literal(node.operand, depth + 1)
            if type(number) in (int, float):
                return -number
        if isinstance(node, ast.List | ast.Tuple):
            return [self._literal(element, depth + 1) for element in node.elts]
        if isinstance(node, ast.Name) and node.id in _WORDS:
            return _WORDS[node.id]
        raise self._at(node, f"{_kind(node)} is not allowed here; {_ALLOWED}")

    def _at(self, node: ast.expr, problem: str) -> ConfigurationError:
        before = self._text[self._indent :].encode("utf-8", "surrogatepass")[: node.col_offset]  # Python counts bytes
        return self._error(self._indent + len(before.decode("utf-8", "replace")) + 1, problem)

    def _error(self, column: int, problem: str) -> ConfigurationError:
        return ConfigurationError(f"the condition is wrong at column {column}: {problem}")


def _joined(is_and: bool, parts: list[_Value]) -> _Value:
    if is_and:
        return lambda lookup: all(part(lookup) for part in parts)
    return lambda lookup: any(part(lookup) for part in parts)


def _holds(compare: Callable[[Any, Any], Any], negative: bool, left: _Value, right: _Value, lookup: Lookup) -> bool:
    try:
        return bool(compare(left(lookup), right(lookup)))
    except TypeError:
        return negative


def _walk(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def _kind(node: ast.expr) -> str:
    return {"Call": "a call", "BinOp": "arithmetic", "JoinedStr": "an f-string", "Lambda": "lambda"}.get(
        type(node).__name__, f"this ({type(node).__name__})"
    )
