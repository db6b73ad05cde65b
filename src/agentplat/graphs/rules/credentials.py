"""Which credentials a graph needs, how a run is given them, and whether what it was given fits.

A graph asks for credentials by group: all fields that the same credentials can serve. A run gives one per group.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from agentplat.engine.graph import Node
from agentplat.graphs.models import JsonObject
from agentplat.graphs.rules.interface import Specs
from agentplat.sdk.spec import CredentialsSpec

HTTP = frozenset({"http"})


class Member(Struct, frozen=True):
    """One field of one node that takes the group's credentials."""

    node_id: str
    field: str


class Group(Struct, kw_only=True):
    """Fields that share credentials. Grows while the graph is gone through."""

    key: str
    spec: CredentialsSpec
    scopes: set[str]
    discriminator_values: dict[str, None]
    members: list[Member]
    required: bool = False


def is_optional(node: Node) -> bool:
    return node.metadata.get("credentials_optional") is True


def groups(nodes: Iterable[Node], specs: Specs) -> dict[str, Group]:
    """The groups of all nodes given (those of a graph and of its sub-graphs), by key, in order of appearance."""
    found: dict[str, Group] = {}
    for node in nodes:
        spec = specs.get(node.block_id)
        for name, field in spec.credentials.items() if spec else ():
            field, values = _narrow(field, node)
            key = _key(field, values)
            group = found.get(key)
            if group is None:
                group = found[key] = Group(key=key, spec=field, scopes=set(), discriminator_values={}, members=[])
            group.scopes |= field.scopes
            group.discriminator_values |= dict.fromkeys(values)
            group.members.append(Member(node.id, name))
            group.required |= not is_optional(node)
    return found


def _narrow(field: CredentialsSpec, node: Node) -> tuple[CredentialsSpec, list[str]]:
    """A field whose provider hangs on another constant (the model, say) with what that constant decides."""
    values = sorted(field.discriminator_values)
    value = node.input_default.get(field.discriminator) if field.discriminator else None
    if not isinstance(value, str):
        return field, values
    provider = (field.discriminator_mapping or {}).get(value)
    if provider is not None:
        field = CredentialsSpec(
            field=field.field,
            providers=frozenset({provider}),
            types=field.types,
            required=field.required,
            scopes=field.scopes,
            discriminator=field.discriminator,
            discriminator_mapping=field.discriminator_mapping,
        )
    return field, [*values, value]


def _key(field: CredentialsSpec, values: Iterable[str]) -> str:
    providers = set(field.providers)
    if field.providers == HTTP:
        providers |= {_host(value) for value in values}
    return f"{'-'.join(sorted(providers))}_{'-'.join(sorted(field.types))}_credentials"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def credentials_schema(graph_name: str, grouped: Mapping[str, Group]) -> JsonObject:
    return {
        "type": "object",
        "title": f"{graph_name.replace(' ', '')}CredentialsInputSchema",
        "properties": {key: _group_schema(group) for key, group in grouped.items()},
        "required": [key for key, group in grouped.items() if group.required],
    }


def _group_schema(group: Group) -> JsonObject:
    providers, types = sorted(group.spec.providers), sorted(group.spec.types)
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "title": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "provider": _one_of(providers),
            "type": _one_of(types),
        },
        "required": ["id", "provider", "type"],
        "credentials_provider": providers,
        "credentials_types": types,
        "discriminator_values": list(group.discriminator_values),
    }
    if group.scopes:
        schema["credentials_scopes"] = sorted(group.scopes)
    if group.spec.discriminator:
        schema["discriminator"] = group.spec.discriminator
    if group.spec.discriminator_mapping:
        schema["discriminator_mapping"] = group.spec.discriminator_mapping
    return schema


def _one_of(values: list[str]) -> JsonObject:
    return {"type": "string", "const": values[0]} if len(values) == 1 else {"type": "string", "enum": values}


def spread(grouped: Mapping[str, Group], given: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """What a run was given per group, as constants per node. Unknown groups are ignored, as the contract has it."""
    masks: dict[str, JsonObject] = {}
    for key, value in given.items():
        for member in grouped[key].members if key in grouped else ():
            masks.setdefault(member.node_id, {})[member.field] = value
    return masks


class Use(Struct, frozen=True, kw_only=True):
    """One credentials field of one node with the value that it would run with."""

    node_id: str
    field: str
    value: Any
    optional: bool
    spec: CredentialsSpec

    @property
    def credentials_id(self) -> str | None:
        found = self.value.get("id") if isinstance(self.value, dict) else None
        return found if isinstance(found, str) and found else None


def uses(nodes: Iterable[Node], specs: Specs, masks: Mapping[str, JsonObject]) -> list[Use]:
    found = []
    for node in nodes:
        spec = specs.get(node.block_id)
        mask = masks.get(node.id, {})
        for name, field in spec.credentials.items() if spec else ():
            optional = is_optional(node)
            value = mask.get(name) if name in mask or optional else node.input_default.get(name)
            found.append(
                Use(node_id=node.id, field=name, value=value, optional=optional, spec=field),
            )
    return found


def mentions(nodes: Iterable[Node], specs: Specs) -> list[Use]:
    """The credentials that constants refer to, also on nodes that would run without them."""
    found = []
    for node in nodes:
        spec = specs.get(node.block_id)
        for name, field in spec.credentials.items() if spec else ():
            if value := node.input_default.get(name):
                found.append(Use(node_id=node.id, field=name, value=value, optional=is_optional(node), spec=field))
    return found


def ids(used: Iterable[Use]) -> set[str]:
    return {use.credentials_id for use in used if use.credentials_id is not None}


class Known(Struct, frozen=True):
    """What stands behind a credentials id: provider and type, or the reason why it could not be looked up."""

    provider: str = ""
    type: str = ""
    failure: str | None = None


def judge(used: Iterable[Use], known: Mapping[str, Known | None]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Errors by node and field, and the nodes to leave out because their optional credentials are missing."""
    errors: dict[str, dict[str, str]] = {}
    skipped: dict[str, None] = {}
    for use in used:
        if not use.value or (isinstance(use.value, dict) and not use.value.get("id")):
            if use.optional:
                skipped[use.node_id] = None
            elif use.spec.required:
                errors.setdefault(use.node_id, {})[use.field] = "These credentials are required"
        elif problem := _problem(use, known):
            errors.setdefault(use.node_id, {})[use.field] = problem
    return errors, [node_id for node_id in skipped if node_id not in errors]


def _problem(use: Use, known: Mapping[str, Known | None]) -> str | None:
    value, credentials_id = use.value, use.credentials_id
    if credentials_id is None:
        return f"Invalid credentials: expected an object with id, provider and type, got {type(value).__name__}"
    if missing := [name for name in ("provider", "type") if not isinstance(value.get(name), str)]:
        return f"Invalid credentials: {' and '.join(missing)} missing"
    found = known.get(credentials_id)
    if found is None:
        return f"Unknown credentials #{credentials_id}"
    if found.failure is not None:
        return f"Credentials not available: {found.failure}"
    kind = (found.provider, found.type)
    if kind != (value["provider"], value["type"]) or not use.spec.takes(*kind):
        return "Invalid credentials: type/provider mismatch"
    return None
