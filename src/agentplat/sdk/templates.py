"""Jinja templates that anybody may write: sandboxed, without globals, and without ways to ask for gigabytes."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agentplat.sdk.errors import BlockError

# A short template can multiply, pad or indent its way to any size. Nothing sensible needs more than this.
_MAX_REPEAT = 100_000
_MAX_PRODUCT = 10_000_000
_MAX_EXPONENT = 1_000
_REMOVED_FILTERS = ("pprint", "tojson", "urlize", "xmlattr")
_REPEATING_FILTERS = ("batch", "center", "indent", "slice", "wordwrap")
_REPEATING_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill"})
_WIDE_FORMAT = re.compile(r"\d{6,}|\*")


def render(template: str, values: Mapping[str, Any], *, escape_html: bool = False) -> str:
    """Fill `template` with `values`. Unknown names come out empty; faults of the template raise `BlockError`."""
    try:
        return _compile(template, escape_html).render(values)
    except TemplateError as error:
        raise BlockError(error.message or str(error)) from error


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_product(left, right)
        elif operator == "**" and _exceeds(right, _MAX_EXPONENT):
            raise SecurityError("the exponent is too large")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        # Named like this by Jinja, so that a template may call something with an argument `self`.
        if getattr(__obj, "__name__", "") in _REPEATING_METHODS:
            _check_repeats(args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)


def _environment(*, escape_html: bool) -> _Environment:
    environment = _Environment(autoescape=escape_html)
    environment.globals.clear()
    for name in _REMOVED_FILTERS:
        del environment.filters[name]
    for name in _REPEATING_FILTERS:
        environment.filters[name] = _limited(environment.filters[name])
    environment.filters["format"] = _format
    return environment


@lru_cache(maxsize=1024)
def _compile(template: str, escape_html: bool) -> Template:
    return _ENVIRONMENTS[escape_html].from_string(template)


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        # The last ones: a filter may get the environment first, and the value it works on may be any number.
        _check_repeats(args[1:], kwargs)
        return function(*args, **kwargs)

    return limited


def _check_repeats(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if any(_exceeds(value, _MAX_REPEAT) for value in (*args, *kwargs.values())):
        raise SecurityError("the number is too large for this operation")


def _check_product(left: Any, right: Any) -> None:
    for sequence, count in ((left, right), (right, left)):
        repeats = isinstance(sequence, (str, list, tuple)) and isinstance(count, int)
        if repeats and len(sequence) * count > _MAX_PRODUCT:
            raise SecurityError("the product is too large")


def _check_format(text: str) -> None:
    if _WIDE_FORMAT.search(text):
        raise SecurityError("the format is too wide")


def _exceeds(value: Any, limit: int) -> bool:
    return isinstance(value, (int, float)) and abs(value) > limit


def _format(value: Any, layout: Any = None) -> Any:
    if layout is None:
        return value
    layout = str(layout)
    _check_format(layout)
    try:
        return layout % value
    except (TypeError, ValueError) as error:
        raise BlockError(f"'{layout}' cannot format the value: {error}") from error


_ENVIRONMENTS = {escape_html: _environment(escape_html=escape_html) for escape_html in (False, True)}
