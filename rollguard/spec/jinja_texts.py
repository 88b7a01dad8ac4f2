"""The Jinja that a text may hold: parsed first, and refused where it could run code or grow without end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rollguard.errors import RollguardError

DEEPEST = 50
"""Levels of nesting within one text."""

_NODES: frozenset[type[nodes.Node]] = frozenset(
    {
        *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If),
        *(nodes.Const, nodes.Name, nodes.List, nodes.Tuple),
        *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos),
        *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr),
        *(nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword),
    }
)
_LIBRARY_NODES = _NODES | {nodes.For, nodes.Assign, nodes.AssignBlock, nodes.Getattr}
_FILTERS = frozenset({"int", "length", "max", "min", "round"})
_LIBRARY_FILTERS = _FILTERS | {"list", "map", "rejectattr"}
_TESTS = frozenset({"none"})
_FUNCTIONS = frozenset({"scaled"})
_LIBRARY_FUNCTIONS = _FUNCTIONS | {"span", "span_seconds", "range", "refuse"}
_IN_WORDS: dict[type[nodes.Node], str] = {
    nodes.Getattr: "attributes",
    nodes.Getitem: "items in brackets",
    nodes.Assign: "set",
    nodes.AssignBlock: "set",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter blocks",
    nodes.FromImport: "import",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.Concat: "~",
    nodes.Pow: "**",
}


class JinjaError(RollguardError):
    """A text is no Jinja, or holds more of it than it may; says what was expected."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja with ``<< >>``, ``<% %>`` and ``<# #>``, and of its own names, filters and tests only a few.

    All operators are intercepted, as Jinja would work them out while it compiles.
    """

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, finalize: Callable[[object], str] | None = None) -> None:
        super().__init__(
            variable_start_string="<<",
            variable_end_string=">>",
            block_start_string="<%",
            block_end_string="%>",
            comment_start_string="<#",
            comment_end_string="#>",
            undefined=jinja2.StrictUndefined,
            finalize=finalize,
        )
        self.globals = {"range": self.globals["range"]}
        # Jinja's own min and max take attributes, and its round makes any power of ten.
        ours = {"int": int, "length": len, "min": min, "max": max, "round": _round}
        self.filters = {name: self.filters[name] for name in _LIBRARY_FILTERS} | ours
        self.tests = {name: self.tests[name] for name in _TESTS}

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator makes of two numbers; refuse what could become large."""
        known = int | float | jinja2.Undefined  # which raises, and names what is undefined
        if operator == "**" or not isinstance(left, known) or not isinstance(right, known):
            kinds = f"{type(left).__name__} and {type(right).__name__}"
            raise TypeError(f"unsupported operand types of {operator}: {kinds}")
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, int) and found.bit_length() > 64:
            raise OverflowError(f"{operator} gives a number of more than 64 bits")
        return found


def text_tree(text: str, environment: Sandbox | None = None, *, library: bool = False) -> nodes.Template:
    """Return the tree of a text with ``<< >>``.

    Args:
        text: of the library or of a file.
        environment: which is to compile it; none where it is only looked at.
        library: whether it is the library's, which may loop and set names, too.
    Raises:
        JinjaError: what the text may not hold.
    """
    return _checked(lambda: Parser(environment or _sandbox(), text).parse(), library=library)


def condition_tree(text: str, environment: Sandbox | None = None, *, library: bool = False) -> nodes.Template:
    """Return the tree of a template that says ``true`` where a bare expression is; else like `text_tree`."""

    def parsed() -> nodes.Template:
        parser = Parser(environment or _sandbox(), text, state="variable")
        expression = parser.parse_expression()
        if not parser.stream.eos:
            parser.fail("something follows the expression")
        says = nodes.If(expression, [nodes.Output([nodes.TemplateData("true")])], [], [], lineno=1)
        tree = nodes.Template([says], lineno=1)
        tree.set_environment(parser.environment)
        return tree

    return _checked(parsed, library=library)


@cache
def _sandbox() -> Sandbox:
    return Sandbox()


def _checked(parsed: Callable[[], nodes.Template], *, library: bool) -> nodes.Template:
    try:
        tree = parsed()
    except jinja2.TemplateSyntaxError as error:
        raise JinjaError(f"Jinja: {str(error.message).removesuffix('.')}") from error
    except (RecursionError, MemoryError) as error:
        raise JinjaError(f"Jinja that is nested {DEEPEST} deep at most") from error
    except ValueError as error:  # a number of thousands of digits
        raise JinjaError(f"Jinja: {error}") from error
    waiting: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > DEEPEST:
            raise JinjaError(f"Jinja that is nested {DEEPEST} deep at most")
        for odd in _odd(node, library=library):
            raise JinjaError(f"Jinja without {odd}")
        waiting += ((child, depth + 1) for child in node.iter_child_nodes())
    return tree


def _odd(node: nodes.Node, *, library: bool) -> Iterator[str]:
    """Yield in words what of a node may not stand in a text."""
    if type(node) not in (_LIBRARY_NODES if library else _NODES):
        words = _IN_WORDS.get(type(node), type(node).__name__.lower())
        yield f"{words} (.{node.attr})" if isinstance(node, nodes.Getattr) else words
    match node:
        case nodes.Getattr(attr=name) | nodes.Name(name=name):
            if name.startswith("_") or name == "self":
                yield f"the name {name}"
        case nodes.Const(value=float(number)):
            if not math.isfinite(number):
                yield "numbers that are not finite"
        case nodes.Add() | nodes.Sub() | nodes.Mul() | nodes.Div() | nodes.FloorDiv() | nodes.Mod():
            if _is_no_number(node.left) or _is_no_number(node.right):
                yield f"{node.operator} of texts or lists"
        case nodes.Call() | nodes.Filter() | nodes.Test():
            yield from _odd_call(node, library=library)


def _odd_call(node: nodes.Call | nodes.Filter | nodes.Test, *, library: bool) -> Iterator[str]:
    match node:
        case nodes.Filter(dyn_args=None, dyn_kwargs=None):
            allowed = _LIBRARY_FILTERS if library else _FILTERS
            if node.name in _builtin_filters() - allowed:
                yield f"the filter {node.name}"
        case nodes.Test(dyn_args=None, dyn_kwargs=None):
            if node.name not in _TESTS:
                yield f"the test {node.name}"
        case nodes.Call(node=nodes.Name(name=name), dyn_args=None, dyn_kwargs=None):
            if name not in (_LIBRARY_FUNCTIONS if library else _FUNCTIONS):
                yield f"calls of {name}"
        case _:
            yield "calls"


def _is_no_number(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.List | nodes.Tuple) or (
        isinstance(node, nodes.Const) and isinstance(node.value, str)
    )


def _builtin_filters() -> frozenset[str]:
    """Jinja's own; the names of others are left to who renders, and knows which is near."""
    return frozenset(jinja2.filters.FILTERS)


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    """Round a number as Jinja does, to so many places that no power of ten is large."""
    if not -15 <= precision <= 15:
        raise ValueError(f"{precision} places, expected -15 to 15")
    found: float = jinja2.filters.do_round(value, precision, method)  # type: ignore[arg-type]
    return found
