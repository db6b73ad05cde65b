"""Blocks over HTTP, against the real server."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from agentplat.blocks.builtin.basic import StoreValueBlock
from agentplat.blocks.builtin.llm import AITextGeneratorBlock
from agentplat.blocks.builtin.logic import CalculatorBlock
from agentplat.cli.supervisor import Platform
from tests.support.shared import SHARED, needs_shared


@pytest.fixture
def client(platform: Platform, make_token: Callable[..., str]) -> Any:
    token = make_token(str(uuid.uuid4()))
    with httpx.Client(base_url=platform.url, timeout=60, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


def test_catalogue(client: httpx.Client) -> None:
    response = client.get("/api/blocks")
    assert response.status_code == 200
    found = {entry["id"]: entry for entry in response.json()}
    assert found[StoreValueBlock.id]["name"] == "StoreValueBlock"
    assert found[StoreValueBlock.id]["staticOutput"] is True
    assert found[CalculatorBlock.id]["categories"][0].keys() == {"category", "description"}
    assert found[AITextGeneratorBlock.id]["costs"][0].keys() == {"cost_amount", "cost_filter", "cost_type"}


def test_outputs_come_by_pin(client: httpx.Client) -> None:
    data = {"operation": "Add", "a": 1, "b": 2}
    response = client.post(f"/api/blocks/{CalculatorBlock.id}/execute", json=data)
    assert (response.status_code, response.json()) == (200, {"result": [3.0]})


@pytest.mark.parametrize(
    ("block_id", "body", "status"),
    [
        ("00000000-0000-4000-8000-000000000000", b"{}", 404),
        ("nonsense", b"{}", 404),
        (CalculatorBlock.id, b"{}", 400),
        (CalculatorBlock.id, b'{"operation": "Power", "a": -8, "b": 0.5}', 400),
        (
            AITextGeneratorBlock.id,
            b'{"prompt": "x", "credentials": {"id": "a", "provider": "openai", "type": "api_key"}}',
            400,
        ),
        (CalculatorBlock.id, b"{", 422),
        (CalculatorBlock.id, b'"\xff"', 422),
        (CalculatorBlock.id, b"[]", 422),
    ],
)
def test_bad_requests_are_told_apart(client: httpx.Client, block_id: str, body: bytes, status: int) -> None:
    headers = {"content-type": "application/json"}
    response = client.post(f"/api/blocks/{block_id}/execute", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert response.json()["detail"]


def test_nobody_gets_in_without_a_token(platform: Platform) -> None:
    assert httpx.get(f"{platform.url}/api/blocks").status_code == 401
    assert httpx.post(f"{platform.url}/api/blocks/{CalculatorBlock.id}/execute", json={}).status_code == 401


@needs_shared
def test_vectors_agree_over_http(client: httpx.Client) -> None:
    """What the contract's own script checks; here only for blocks that exist."""
    found = {entry["name"]: entry["id"] for entry in client.get("/api/blocks").json()}
    vectors = json.loads((SHARED / "catalog" / "local_vectors.json").read_text(encoding="utf-8"))["vectors"]
    wrong = []
    for vector in vectors:
        if vector["block"] not in found:
            continue
        response = client.post(f"/api/blocks/{found[vector['block']]}/execute", json=vector["input"])
        expected: dict[str, list[Any]] = {}
        for pin, value in vector["outputs"]:
            expected.setdefault(pin, []).append(value)
        if "error" in vector:
            right = 400 <= response.status_code < 500
        else:
            right = response.status_code == 200 and response.json() == expected
        if not right:
            wrong.append((vector, response.text))
    assert wrong == []
