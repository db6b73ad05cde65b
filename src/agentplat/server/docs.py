"""The pages at /docs and /external-api/docs: OpenAPI documents for people. Plain HTML, made here: no script, nothing to
load."""

import base64
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from typing import Any

import msgspec

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --link: light-dark(#0645ad, #8ab4f8) }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem }
a { color: var(--link) } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem }
nav a { margin-right: 1em; white-space: nowrap }
details { border: 1px solid var(--line); border-radius: 4px; margin: .4rem 0 }
details > div { padding: 0 .8rem .6rem } summary { cursor: pointer; padding: .35rem .8rem }
code, pre { font: 13px/1.45 ui-monospace, monospace } pre { background: var(--soft); overflow-x: auto; padding: .6rem }
.method { display: inline-block; font-weight: 700; min-width: 4.2rem } .quiet { opacity: .7 }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .6rem .2rem 0; vertical-align: top }
"""
_HASH = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

Schema = dict[str, Any]


def page(document: Schema, address: str) -> str:
    """`address`: where the document itself is."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            by_tag.setdefault(escape(operation.get("tags", ["other"])[0]), []).append(
                _operation(method, path, operation)
            )
    schemas = document["components"]["schemas"]
    parts = [
        f"<h1>{escape(info['title'])} <small class=quiet>{escape(info['version'])}</small></h1>",
        *(f"<p>{_text(paragraph)}</p>" for paragraph in info["description"].split("\n\n")),
        f'<p>For programs: <a href="{address}">openapi.json</a></p>',
        f"<nav>{''.join(f'<a href=#{tag}>{tag}</a>' for tag in [*sorted(by_tag), 'schemas'])}</nav>",
        *(f"<h2 id={tag}>{tag}</h2>{''.join(by_tag[tag])}" for tag in sorted(by_tag)),
        "<h2 id=schemas>schemas</h2>",
        *(_schema_entry(name, schema) for name, schema in schemas.items()),
    ]
    head = f"<meta charset=utf-8><meta name=viewport content=width=device-width><style>{STYLE}</style>"
    title = f"<title>{escape(info['title'])}</title>"
    return f"<!doctype html><html lang=en><head>{head}{title}</head><body>{''.join(parts)}</body></html>"


def _operation(method: str, path: str, operation: Schema) -> str:
    head = f"<span class=method>{method.upper()}</span> <code>{escape(path)}</code>"
    needs = [name for requirement in operation.get("security", ()) for name in requirement]
    permission = operation.get("x-required-permission")
    who = f"Needs {', '.join(needs)}" + (f" with {permission}." if permission else ".") if needs else "Open to anybody."
    parts = [f"<p>{_text(operation.get('description', ''))}</p><p class=quiet>{escape(who)}</p>"]
    if parameters := operation.get("parameters"):
        rows = (
            (
                f"{escape(one['name'])} <span class=quiet>{escape(one['in'])}</span>",
                _kind(one["schema"]),
                _text(one.get("description", "")),
            )
            for one in parameters
        )
        parts.append(_table(("Parameter", "Type", ""), rows))
    if body := operation.get("requestBody"):
        parts.append(f"<h4>Body</h4>{_content(body)}")
    parts.append("<h4>Answers</h4>")
    rows = ((status, _kind(_schema(one)), _answer(one)) for status, one in operation["responses"].items())
    parts.append(_table(("Status", "Type", ""), rows))
    parts += [_example(one) for status, one in operation["responses"].items() if status < "300"]
    anchor = escape(operation["operationId"])
    return f"<details id={anchor}><summary>{head}</summary><div>{''.join(parts)}</div></details>"


def _answer(response: Schema) -> str:
    if reference := response.get("$ref"):
        return escape(reference.rsplit("/", 1)[1])
    return _text(response.get("description", ""))


def _schema(holder: Schema) -> Schema:
    contents = list(holder.get("content", {}).values())
    return contents[0].get("schema", {}) if contents else {}


def _content(holder: Schema) -> str:
    return f"<p>{_kind(_schema(holder))}</p>{_example(holder)}"


def _example(holder: Schema) -> str:
    for content in holder.get("content", {}).values():
        if "example" in content:
            shown = msgspec.json.format(msgspec.json.encode(content["example"]), indent=2).decode()
            return f"<details><summary>Example</summary><div><pre>{escape(shown)}</pre></div></details>"
    return ""


def _schema_entry(name: str, schema: Schema) -> str:
    required = schema.get("required", ())
    rows = (
        (
            f"{escape(key)}{'' if key in required else ' <span class=quiet>optional</span>'}",
            _kind(member),
            _text(member.get("description", "")),
        )
        for key, member in schema.get("properties", {}).items()
    )
    inner = _table(("Member", "Type", ""), rows) if "properties" in schema else f"<p>{_kind(schema)}</p>"
    shown = escape(name)
    return f"<details id=schema-{shown}><summary><code>{shown}</code></summary><div>{inner}</div></details>"


def _kind(schema: Schema) -> str:
    """A schema in one line, with links to those that it names."""
    if reference := schema.get("$ref"):
        name = escape(reference.rsplit("/", 1)[1])
        return f'<a href="#schema-{name}">{name}</a>'
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(map(_kind, alternatives)))
    if "const" in schema:
        return f"<code>{escape(repr(schema['const']))}</code>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    kind = schema.get("type", "any" if not schema.get("properties") else "object")
    kind = " | ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        return f"array of {_kind(schema.get('items') or {})}"
    limits = [f"{word} {schema[key]:g}" for key, word in _LIMITS if key in schema]
    return escape(" ".join([kind, *([schema["format"]] if "format" in schema else ()), *limits]))


_LIMITS = (
    *(("minimum", "≥"), ("maximum", "≤"), ("minLength", "from length"), ("maxLength", "to length")),
    *(("minItems", "from items"), ("maxItems", "to items")),
)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """The rows are HTML already."""
    columns = "".join(f"<th>{name}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{columns}</tr>{lines}</table>"


def _text(text: str) -> str:
    """Words between backticks are code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
