from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplat.sdk import BlockError, templates
from agentplat.sdk.templates import render


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ('{{ x|format("%.2f") }}', {"x": 1.005}, "1.00"),
        ("{{ x|format }}", {"x": 5}, "5"),
        ("{{ unknown }}|{{ x.__class__ }}", {"x": 1}, "|"),
        ("{{ x|center(5) }}|{{ 'a' * 3 }}|{{ 2 ** 10 }}", {"x": "a"}, "  a  |aaa|1024"),
        ("{{ 10000000|string }}|{{ x|default(1000000) }}", {}, "10000000|1000000"),
        ("{% for i in x %}{{ loop.index }}/{{ loop.length }}{{ i }}{% else %}-{% endfor %}", {"x": "ab"}, "1/2a2/2b"),
        ("{% for i in x %}{{ i }}{% else %}none{% endfor %}", {"x": []}, "none"),
        ("{{ x|replace('a', 'b') }}{{ ['a', 1]|join('-') }}{{ 'a' ~ 1 ~ x }}", {"x": "aa"}, "bba-1a1aa"),
        (
            "{% for i in t recursive %}{{ i.n }}{{ loop(i.c) }}{% endfor %}",
            {"t": [{"n": 1, "c": [{"n": 2, "c": []}]}]},
            "12",
        ),
        ("{{ x|upper }}\n\n", {"x": "a"}, "A\n"),
    ],
)
def test_rendering(template: str, values: dict[str, Any], text: str) -> None:
    assert render(template, values) == text


@pytest.mark.parametrize("template", ["{{ 'text'|format('%d') }}", "{{ 'text'|format(2) }}", "{{ 1|format('%!') }}"])
def test_formats_that_do_not_fit(template: str) -> None:
    with pytest.raises(BlockError, match="cannot format"):
        render(template, {})


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 999999999 }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a'|indent(1000000000) }}",
        "{{ [1]|batch(1000000000, 0)|list }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 1|format('%1000000000d') }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 1000000000) }}",
        "{{ text|replace('', text) }}",
        "{{ text.replace('', text) }}",
        "{{ ([text] * 1000)|join }}",
        "{{ text.join(letters) }}",
        "{% for a in letters %}{{ text }}{% endfor %}",
        "{% set x = text + text %}" + "{% set x = x + x %}" * 40,
        "{% set x = text ~ text %}" + "{% set x = x ~ x %}" * 40,
    ],
)
def test_no_template_asks_for_gigabytes(template: str) -> None:
    with pytest.raises(BlockError):
        render(template, {"text": "a" * 100_000, "letters": list("abcdefghij") * 100})


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    ],
)
def test_no_template_runs_for_ever(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "_MAX_SECONDS", 0.1)
    with pytest.raises(BlockError, match=r"longer than 0\.1 seconds"):
        render(template, {"x": [0] * 10_000})


@pytest.mark.parametrize("template", ["{{ x.append(1) }}", "{{ x.clear() }}", "{% set _ = d.update(a=1) %}"])
def test_values_cannot_be_changed(template: str) -> None:
    values: dict[str, Any] = {"x": [0], "d": {}}
    with pytest.raises(BlockError):
        render(template, values)
    assert values == {"x": [0], "d": {}}


@pytest.mark.parametrize("template", ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ f.__globals__['x'] }}"])
def test_internals_cannot_be_reached(template: str) -> None:
    with pytest.raises(BlockError):
        render(template, {"f": test_rendering})


@given(st.text().filter(lambda text: "{" not in text and "#" not in text and "\r" not in text))
def test_text_without_templates_stays(text: str) -> None:
    assert render(text, {}) == text.removesuffix("\n")


@given(st.text())
def test_values_come_out_as_they_are(value: str) -> None:
    assert render("{{ value }}", {"value": value}) == value
