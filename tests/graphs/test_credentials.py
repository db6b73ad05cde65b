"""Which credentials a graph asks for, and whether those of a run fit."""

from typing import Any

import pytest

from agentplat.graphs.rules import credentials
from agentplat.graphs.rules.credentials import Known
from tests.support.graphs import api_key, block, node, pin

MAPPING = {"gpt": "openai", "claude": "anthropic"}
SPECS = {
    "llm": block(
        "llm",
        pin("credentials", required=True),
        credentials={
            "credentials": api_key("openai", "anthropic", discriminator="model", discriminator_mapping=MAPPING)
        },
    ),
    "image": block("image", credentials={"credentials": api_key("openai", scopes=frozenset({"b", "a"}))}),
    "http": block("http", credentials={"credentials": api_key("http", discriminator="url")}),
    "maybe": block("maybe", credentials={"credentials": api_key("openai", required=False)}),
    "plain": block("plain"),
}
OPTIONAL = {"credentials_optional": True}
META = {"id": "c1", "provider": "openai", "type": "api_key"}


def keys(*nodes: Any) -> list[str]:
    return list(credentials.groups(nodes, SPECS))


@pytest.mark.parametrize(
    ("constants", "key"),
    [
        ({"model": "gpt"}, "openai_api_key_credentials"),
        ({"model": "claude"}, "anthropic_api_key_credentials"),
        ({}, "anthropic-openai_api_key_credentials"),
        ({"model": None}, "anthropic-openai_api_key_credentials"),
        ({"model": "unheard of"}, "anthropic-openai_api_key_credentials"),
        ({"model": ["gpt"]}, "anthropic-openai_api_key_credentials"),
    ],
)
def test_another_constant_decides_on_the_provider(constants: Any, key: str) -> None:
    assert keys(node("n", "llm", **constants)) == [key]


def test_fields_that_take_the_same_credentials_share_a_group() -> None:
    grouped = credentials.groups([node("1", "llm", model="gpt"), node("2", "plain"), node("3", "image")], SPECS)
    schema = credentials.credentials_schema("My Agent", grouped)
    assert schema["title"] == "MyAgentCredentialsInputSchema"
    assert schema["required"] == ["openai_api_key_credentials"]
    group = schema["properties"]["openai_api_key_credentials"]
    assert group["properties"]["provider"] == {"type": "string", "const": "openai"}
    assert (group["credentials_scopes"], group["discriminator_values"]) == (["a", "b"], ["gpt"])
    assert credentials.spread(grouped, {"openai_api_key_credentials": META, "unknown": META}) == {
        "1": {"credentials": META},
        "3": {"credentials": META},
    }


def test_http_credentials_are_per_host() -> None:
    nodes = [
        node(str(i), "http", url=url) for i, url in enumerate(["https://a.com/x", "https://a.com/y", "b", "http://["])
    ]
    assert keys(*nodes) == [
        "a.com-http_api_key_credentials",
        "b-http_api_key_credentials",
        "http-http://[_api_key_credentials",
    ]


def test_a_group_is_required_when_one_node_can_not_do_without() -> None:
    def required(*metadata: dict[str, Any]) -> Any:
        nodes = [node(str(i), "image", meta) for i, meta in enumerate(metadata)]
        return credentials.credentials_schema("g", credentials.groups(nodes, SPECS))["required"]

    assert required(OPTIONAL) == []
    assert required(OPTIONAL, {}) == ["openai_api_key_credentials"]


KNOWN: dict[str, Known | None] = {"c1": Known("openai", "api_key"), "c2": None, "c3": Known(failure="down")}


def judged(node_: Any, mask: Any = None) -> tuple[Any, list[str]]:
    errors, skipped = credentials.judge(credentials.uses([node_], SPECS, {node_.id: mask} if mask else {}), KNOWN)
    return errors.get(node_.id, {}).get("credentials"), skipped


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (META, None),
        (None, "These credentials are required"),
        ({}, "These credentials are required"),
        ({"id": "", "provider": "openai"}, "These credentials are required"),
        ("c1", "Invalid credentials: expected an object with id, provider and type, got str"),
        ({"id": 7}, "Invalid credentials: expected an object with id, provider and type, got dict"),
        ({"id": "c1", "provider": "openai"}, "Invalid credentials: type missing"),
        (META | {"id": "c2"}, "Unknown credentials #c2"),
        (META | {"id": "c3"}, "Credentials not available: down"),
        (META | {"provider": "anthropic"}, "Invalid credentials: type/provider mismatch"),
        (META | {"type": "oauth2"}, "Invalid credentials: type/provider mismatch"),
    ],
)
def test_what_a_node_would_run_with_is_judged(value: Any, error: str | None) -> None:
    assert judged(node("n", "image", credentials=value)) == (error, [])
    assert judged(node("n", "image"), {"credentials": value}) == (error, [])


def test_a_run_overrides_constants() -> None:
    assert judged(node("n", "image", credentials=META | {"id": "c2"}), {"credentials": META}) == (None, [])


def test_optional_credentials_leave_the_node_out_and_ignore_its_constant() -> None:
    assert judged(node("n", "image", OPTIONAL, credentials=META)) == (None, ["n"])
    assert judged(node("n", "image", OPTIONAL), {"credentials": META}) == (None, [])
    assert judged(node("n", "image", OPTIONAL), {"credentials": META | {"id": "c2"}}) == ("Unknown credentials #c2", [])


def test_a_pin_that_may_stay_empty_needs_nothing() -> None:
    assert judged(node("n", "maybe")) == (None, [])
