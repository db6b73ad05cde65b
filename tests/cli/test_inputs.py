from pathlib import Path

import click
import pytest

from agentplat.cli.inputs import (
    CredentialsMissing,
    InputsMissing,
    choose_credentials,
    parse_inputs,
    parse_value,
    unknown_inputs,
)
from agentplat.cli.platform_client import InputSchema

TEXT = {"anyOf": [{"type": "string", "format": "short-text"}, {"type": "null"}]}
NUMBER = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (NUMBER, "12", 12),
        (TEXT, "12", "12"),
        (TEXT, "", ""),
        ({"type": "string"}, "[1]", "[1]"),
        ({}, "[1, 2]", [1, 2]),
        ({}, "null", None),
        ({}, "plain words", "plain words"),
        ({}, "a=b", "a=b"),
        (TEXT, "@@home", "@home"),
    ],
)
def test_json_unless_the_input_is_a_text(schema: dict[str, object], text: str, value: object) -> None:
    assert parse_value("it", text, schema) == value


def test_files(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    numbers.write_text("[1, 2]")
    assert parse_value("it", f"@{numbers}", {}) == [1, 2]
    assert parse_value("it", f"@{numbers}", TEXT) == "[1, 2]"
    as_file = {"anyOf": [{"type": "string", "format": "file"}, {"type": "null"}]}
    assert parse_value("it", f"@{numbers}", as_file) == "data:application/json;base64,WzEsIDJd"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"--input it: .*none can't be read: No such file"):
        parse_value("it", f"@{tmp_path / 'none'}", TEXT)
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xff")
    with pytest.raises(click.UsageError, match="broken is no UTF-8 text"):
        parse_value("it", f"@{broken}", TEXT)


def test_names_are_checked() -> None:
    schema = InputSchema({"name": TEXT, "age": NUMBER, "full name": TEXT}, ["name", "full name"])
    assert parse_inputs(["name=Ada", "full name=Ada L.", "age=36"], schema) == {
        "name": "Ada",
        "full name": "Ada L.",
        "age": 36,
    }
    with pytest.raises(click.UsageError, match="expected name=value"):
        parse_inputs(["name"], schema)
    with pytest.raises(InputsMissing, match="inputs 'name', 'full name'") as missing:
        parse_inputs(["age=36"], schema)
    assert missing.value.hint == "Give --input name=VALUE --input 'full name=VALUE'."
    assert unknown_inputs({"name": 1}, schema) is None
    assert unknown_inputs({"nmae": 1}, schema) == (
        "The agent has no input 'nmae'; that is ignored. Its inputs: name, age, full name."
    )


def test_credentials_of_the_platform() -> None:
    group = {"credentials_provider": ["anthropic", "openai"], "credentials_types": ["api_key"]}
    chosen = choose_credentials(InputSchema({"llm": group}, ["llm"]))
    assert chosen == {"llm": {"id": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a", "provider": "openai", "type": "api_key"}}
    other = {"credentials_provider": ["discord"], "credentials_types": ["api_key"]}
    assert choose_credentials(InputSchema({"chat": other})) == {}
    with pytest.raises(CredentialsMissing, match=r"credentials for discord \(chat\)"):
        choose_credentials(InputSchema({"chat": other}, ["chat"]))
