"""Jinja templates that anybody may write: sandboxed, without globals, and within limits of time and size.

Jinja's sandbox keeps a template away from Python's internals, but not from our time and memory: three nested loops over
a list of a thousand take minutes, and `'a'|center(10**10)` takes all memory there is. So loops and calls are counted,
and whatever multiplies, pads or joins says first how much it will make.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agentplat.sdk.errors import BlockError

_MAX_SECONDS = 1.0
_MAX_SIZE = 10_000_000
_MAX_REPEAT = 100_000
_MAX_EXPONENT = 1_000
_REMOVED_FILTERS = ("pprint", "tojson", "urlize", "xmlattr")
_REPEATING_FILTERS = ("batch", "center", "indent", "slice", "wordwrap")
_REPEATING_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill"})
_FORMATTING_METHODS = frozenset({"format", "format_map"})
_WIDE_FORMAT = re.compile(r"\d{6,}|\*|\{[^{}]*\{")

# When the rendering that is going on has to be done, on the clock of `time.perf_counter`.
_deadline: ContextVar[float] = ContextVar("_deadline")


def render(template: str, values: Mapping[str, Any], *, escape_html: bool = False) -> str:
    """Fill `template` with `values`. Unknown names come out empty; faults of the template raise `BlockError`."""
    token = _deadline.set(time.perf_counter() + _MAX_SECONDS)
    try:
        return "".join(_limited_output(_compile(template, escape_html).generate(values)))
    except TemplateError as error:
        raise BlockError(error.message or str(error)) from error
    finally:
        _deadline.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        for concat in list(tree.find_all(nodes.Concat)):
            parts = nodes.List(concat.nodes, lineno=concat.lineno)
            concat.nodes = [nodes.Filter(parts, "join", [], [], None, None, lineno=concat.lineno)]
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_size(max(_size(left) * _count(right), _count(left) * _size(right)))
        elif operator == "+":
            _check_size(_size(left) + _size(right))
        elif operator == "**" and _count(right) > _MAX_EXPONENT:
            raise SecurityError("the exponent is too large")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        # Named like this by Jinja, so that a template may call something with an argument `self`.
        _check_time()
        name = getattr(__obj, "__name__", "")
        if name in _REPEATING_METHODS:
            _check_repeats(args, kwargs)
        elif name in _FORMATTING_METHODS:
            _check_format(str(getattr(__obj, "__self__", "")))
        elif name == "replace":
            _check_replacement(getattr(__obj, "__self__", ""), *args[:2])
        elif name == "join" and args:
            _check_join(args[0], getattr(__obj, "__self__", ""))
        return super().call(__context, __obj, *args, **kwargs)


def _environment(*, escape_html: bool) -> _Environment:
    environment = _Environment(autoescape=escape_html)
    environment.globals.clear()
    filters = environment.filters
    for name in _REMOVED_FILTERS:
        del filters[name]
    for name in _REPEATING_FILTERS:
        # The value comes first and may be any number. Some filters get the environment before it, which is none.
        filters[name] = _checked(filters[name], lambda args, kwargs: _check_repeats(args[1:], kwargs))
    filters["replace"] = _checked(filters["replace"], lambda args, _: _check_replacement(*args[1:4]))
    filters["join"] = _checked(filters["join"], lambda args, _: _check_join(*args[1:3]))
    filters["format"] = _format
    filters["_counted"] = _counted
    return environment


def _checked(function: Callable[..., Any], check: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> Any:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return function(*args, **kwargs)

    return checked


@lru_cache(maxsize=1024)
def _compile(template: str, escape_html: bool) -> Template:
    return _ENVIRONMENTS[escape_html].from_string(template)


def _limited_output(parts: Iterable[str]) -> Iterator[str]:
    size = 0
    for part in parts:
        size += len(part)
        _check_size(size)
        yield part


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _check_time()
        yield item


def _format(value: Any, layout: Any = None) -> Any:
    if layout is None:
        return value
    layout = str(layout)
    _check_format(layout)
    try:
        return layout % value
    except (TypeError, ValueError) as error:
        raise BlockError(f"'{layout}' cannot format the value: {error}") from error


def _check_time() -> None:
    if time.perf_counter() > _deadline.get():
        raise SecurityError(f"the template takes longer than {_MAX_SECONDS:g} seconds")


def _check_size(size: float) -> None:
    if size > _MAX_SIZE:
        raise SecurityError("the template makes too large a text")


def _check_repeats(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if any(_count(value) > _MAX_REPEAT for value in (*args, *kwargs.values())):
        raise SecurityError("the number is too large for this operation")


def _check_format(text: str) -> None:
    if _WIDE_FORMAT.search(text):
        raise SecurityError("the format is too wide")


def _check_replacement(text: Any = "", old: Any = "", new: Any = "", *_: Any) -> None:
    found = str(text).count(str(old))
    _check_size(_size(text) + found * len(str(new)))


def _check_join(items: Any = (), separator: Any = "", *_: Any) -> None:
    if isinstance(items, (list, tuple)):
        _check_size(sum(max(_size(item), 1) for item in items) + len(items) * _size(separator))


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 0


def _count(value: Any) -> float:
    return abs(value) if isinstance(value, (int, float)) else 0


_ENVIRONMENTS = {escape_html: _environment(escape_html=escape_html) for escape_html in (False, True)}
