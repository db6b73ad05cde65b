"""From `--input name=value` to what a run is started with."""

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from agentplat.cli.platform_client import InputSchema
from agentplat.infra.errors import AppError
from agentplat.integrations import service as integrations


class InputsMissing(AppError):
    """The agent needs inputs that were not given."""


class CredentialsMissing(AppError):
    """The agent needs credentials that the platform does not have."""


def parse_inputs(given: Sequence[str], schema: InputSchema) -> dict[str, Any]:
    """The values by name. Raises InputsMissing where the agent can't do without more, click.UsageError for bad ones."""
    values: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise click.UsageError(f"--input {text!r}: expected name=value")
        values[name] = parse_value(name, value, schema.properties.get(name, {}))
    if missing := [name for name in schema.required if name not in values]:
        raise InputsMissing(
            f"The agent needs {_named(missing)}.",
            hint="Give " + " ".join(f"--input {_quoted(name)}" for name in missing) + ".",
        )
    return values


def unknown_inputs(values: Mapping[str, Any], schema: InputSchema) -> str | None:
    """A warning: the platform ignores names that the agent does not have, so a typing error would go unnoticed."""
    unknown = [name for name in values if name not in schema.properties]
    if not unknown:
        return None
    known = ", ".join(schema.properties) or "none"
    return f"The agent has no {_named(unknown)}; that is ignored. Its inputs: {known}."


def parse_value(name: str, text: str, schema: Mapping[str, Any]) -> Any:
    """`@path` is a file's content (`@@…` a text that begins with @). JSON is read as such, except for a text input."""
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            content = path.read_bytes()
            if _has(schema, "format", "file"):
                kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                return f"data:{kind};base64,{base64.b64encode(content).decode()}"
            text = content.decode()
        except OSError as error:
            raise click.UsageError(f"--input {name}: {path} can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise click.UsageError(f"--input {name}: {path} is no UTF-8 text") from error
    if _has(schema, "type", "string"):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _has(schema: Mapping[str, Any], member: str, value: str) -> bool:
    """Whether the schema says so, itself or in one of its alternatives."""
    return any(part.get(member) == value for part in (schema, *schema.get("anyOf", ())))


def choose_credentials(schema: InputSchema) -> dict[str, dict[str, str]]:
    """What the platform's own credentials can be used for, by the name of the agent's credentials input."""
    chosen = {}
    for key, group in schema.properties.items():
        provider = next(
            (name for name in group.get("credentials_provider", ()) if name in integrations.SYSTEM_IDS), None
        )
        if provider is not None and "api_key" in group.get("credentials_types", ()):
            chosen[key] = {"id": integrations.SYSTEM_IDS[provider], "provider": provider, "type": "api_key"}
    if missing := [key for key in schema.required if key not in chosen]:
        providers = sorted({name for key in missing for name in schema.properties[key].get("credentials_provider", ())})
        raise CredentialsMissing(
            f"The agent needs credentials for {', '.join(providers)} ({', '.join(missing)}), which are not there.",
            hint=f"The platform has its own credentials for: {', '.join(integrations.SYSTEM_IDS)}.",
        )
    return chosen


def _named(names: Sequence[str]) -> str:
    return f"input{'s' if len(names) > 1 else ''} {', '.join(repr(name) for name in names)}"


def _quoted(name: str) -> str:
    return f"'{name}=VALUE'" if " " in name else f"{name}=VALUE"
