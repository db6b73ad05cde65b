"""The document that describes the API, against the contract where that is at hand."""

import importlib.util
import json
from types import ModuleType
from typing import Any

import jsonschema_rs
import pytest

from agentplat.infra.ndjson import NDJSON
from agentplat.infra.settings import Settings
from agentplat.server.app import create_app
from agentplat.server.openapi import document
from tests.support.shared import SHARED, needs_shared

# What is served so far, and conforms.
OPERATIONS = [
    ("GET", "/health"),
    ("POST", "/api/auth/user"),
    ("POST", "/api/auth/user/email"),
    ("GET", "/api/auth/user/timezone"),
    ("POST", "/api/auth/user/timezone"),
    ("GET", "/api/auth/user/preferences"),
    ("POST", "/api/auth/user/preferences"),
    ("POST", "/api/email"),
    ("POST", "/api/email/unsubscribe"),
    ("GET", "/api/api-keys"),
    ("POST", "/api/api-keys"),
    ("GET", "/api/api-keys/{}"),
    ("DELETE", "/api/api-keys/{}"),
    ("POST", "/api/api-keys/{}/suspend"),
    ("PUT", "/api/api-keys/{}/permissions"),
    ("GET", "/api/blocks"),
    ("POST", "/api/blocks/{}/execute"),
    ("POST", "/api/files/upload"),
    ("GET", "/api/integrations/credentials"),
    ("GET", "/api/integrations/{}/credentials"),
    ("POST", "/api/integrations/{}/credentials"),
    ("GET", "/api/integrations/{}/credentials/{}"),
    ("DELETE", "/api/integrations/{}/credentials/{}"),
    ("GET", "/api/integrations/providers"),
    ("GET", "/api/integrations/providers/system"),
    ("GET", "/api/integrations/providers/names"),
    ("GET", "/api/integrations/providers/constants"),
    ("GET", "/api/integrations/providers/enum-example"),
    ("GET", "/api/graphs"),
    ("POST", "/api/graphs"),
    ("GET", "/api/graphs/{}"),
    ("PUT", "/api/graphs/{}"),
    ("DELETE", "/api/graphs/{}"),
    ("GET", "/api/graphs/{}/versions"),
    ("GET", "/api/graphs/{}/versions/{}"),
    ("PUT", "/api/graphs/{}/versions/active"),
    ("PATCH", "/api/graphs/{}/settings"),
    ("POST", "/api/graphs/{}/execute/{}"),
    ("GET", "/api/graphs/{}/executions"),
    ("GET", "/api/graphs/{}/executions/{}"),
    ("POST", "/api/graphs/{}/executions/{}/stop"),
    ("GET", "/api/graphs/{}/schedules"),
    ("POST", "/api/graphs/{}/schedules"),
    ("GET", "/api/schedules"),
    ("DELETE", "/api/schedules/{}"),
    ("GET", "/api/executions"),
    ("DELETE", "/api/executions/{}"),
    ("GET", "/api/executions/admin/execution_accuracy_trends"),
    ("POST", "/api/executions/admin/execution_analytics"),
    ("GET", "/api/executions/admin/execution_analytics/config"),
    ("GET", "/api/credits"),
    ("POST", "/api/credits"),
    ("PATCH", "/api/credits"),
    ("GET", "/api/credits/auto-top-up"),
    ("POST", "/api/credits/auto-top-up"),
    ("GET", "/api/credits/manage"),
    ("GET", "/api/credits/transactions"),
    ("POST", "/api/credits/{}/refund"),
    ("GET", "/api/credits/refunds"),
    ("POST", "/api/credits/stripe_webhook"),
    ("POST", "/api/credits/admin/add_credits"),
    ("GET", "/api/credits/admin/users_history"),
    ("POST", "/api/graphs/{}/executions/{}/share"),
    ("DELETE", "/api/graphs/{}/executions/{}/share"),
    ("GET", "/api/public/shared/{}"),
    ("GET", "/api/review/pending"),
    ("GET", "/api/review/execution/{}"),
    ("POST", "/api/review/action"),
]


@pytest.fixture(scope="module")
def served() -> Any:
    return json.loads(document(create_app(Settings())))


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_contract", SHARED / "conformance" / "check_contract.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_shared
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operations_conform_to_the_contract(served: Any, checker: ModuleType, method: str, path: str) -> None:
    contract = json.loads((SHARED / "contract" / "rest.json").read_text())
    ours, theirs = checker.operations(contract), checker.operations(served)
    assert (method, path) in theirs
    assert checker.check(contract, served, ours[method, path], theirs[method, path]) == []


EXTERNAL = [
    ("GET", "/external-api/v1/me"),
    ("GET", "/external-api/v1/blocks"),
    ("POST", "/external-api/v1/blocks/{}/execute"),
    ("POST", "/external-api/v1/graphs/{}/execute/{}"),
    ("GET", "/external-api/v1/graphs/{}/executions/{}/results"),
    ("GET", "/external-api/v1/integrations/providers"),
    ("GET", "/external-api/v1/integrations/credentials"),
    ("GET", "/external-api/v1/integrations/{}/credentials"),
    ("POST", "/external-api/v1/integrations/{}/credentials"),
    ("DELETE", "/external-api/v1/integrations/{}/credentials/{}"),
]


@needs_shared
@pytest.mark.parametrize(("method", "path"), EXTERNAL)
def test_operations_for_programs_conform_too(served: Any, checker: ModuleType, method: str, path: str) -> None:
    contract = json.loads((SHARED / "contract" / "external.json").read_text())
    ours, theirs = checker.operations(contract), checker.operations(served)
    assert (method, path) in theirs
    assert checker.check(contract, served, ours[method, path], theirs[method, path]) == []
    assert ours[method, path]["x-required-permission"] == theirs[method, path]["x-required-permission"]


def test_every_operation_documents_its_refusals(served: Any) -> None:
    assert served["components"]["securitySchemes"]["HTTPBearerJWT"]["bearerFormat"] == "jwt"
    for path, item in served["paths"].items():
        for method, operation in item.items():
            secured = bool(operation.get("security"))
            assert secured == ("401" in operation["responses"]), (method, path)
            assert operation["description"]
            responses = operation["responses"]
            assert {"500", "503"} <= responses.keys()
            if secured and path != "/api/email":  # Postmark has no rights to lack and no limit
                assert {"403", "429"} <= responses.keys(), (method, path)
            if "requestBody" in operation:
                assert {"408", "413", "422"} <= responses.keys(), (method, path)
            if any(one["in"] == "path" for one in operation.get("parameters", ())):
                assert {"404", "422"} <= responses.keys(), (method, path)
            for status, response in responses.items():
                if status >= "400":
                    assert referred(served, response)["content"]["application/json"]["schema"]["$ref"] in (
                        "#/components/schemas/Error",
                        "#/components/schemas/HTTPValidationError",
                    )


def referred(document: Any, value: Any) -> Any:
    if reference := value.get("$ref"):
        value = document
        for step in reference.split("/")[1:]:
            value = value[step]
    return value


def test_400_is_told_only_where_a_handler_says_what_it_is(served: Any) -> None:
    """What does not validate is answered with 422, whatever Litestar would answer."""
    told = {
        response["description"]
        for item in served["paths"].values()
        for operation in item.values()
        for status, response in operation["responses"].items()
        if status == "400"
    }
    assert told
    assert not any("syntax" in description or "Validation" in description for description in told)


def test_every_body_has_an_example_that_is_one(served: Any) -> None:
    checked = 0
    for path, item in served["paths"].items():
        for method, operation in item.items():
            holders = [*operation["responses"].values(), operation.get("requestBody", {})]
            for content in (content for one in holders for content in one.get("content", {}).values()):
                if "schema" in content and "example" in content:
                    schema = {**content["schema"], "components": served["components"]}
                    found = list(jsonschema_rs.validator_for(schema).iter_errors(content["example"]))
                    assert not found, (method, path, found[0].message)
                    checked += 1
    assert checked > 50


def test_errors_are_shown_with_their_own_codes(served: Any) -> None:
    shown = {
        (status, referred(served, response)["content"]["application/json"]["example"]["code"])
        for item in served["paths"].values()
        for operation in item.values()
        for status, response in operation["responses"].items()
        if status >= "400"
    }
    assert {("401", "unauthenticated"), ("404", "not_found"), ("422", "invalid"), ("500", "internal")} <= shown
    assert len(shown) == len({status for status, _ in shown})


def test_what_is_no_json_is_told_by_its_type(served: Any) -> None:
    def types(path: str, status: str) -> set[str]:
        return set(served["paths"][path]["get"]["responses"][status]["content"])

    assert types("/api/executions/{graph_exec_id}/events", "200") == {"text/event-stream"}
    assert types("/api/graphs/{graph_id}/events", "200") == {"text/event-stream"}
    assert types("/api/files/{file_id}/content", "200") == types("/api/files/{file_id}/content", "206") == {"*/*"}


def test_what_fits_two_members_of_a_union_fits_it(served: Any) -> None:
    look = served["paths"]["/api/graphs/{graph_id}/executions/{graph_exec_id}"]["get"]
    pending = served["components"]["schemas"]["Review"]["properties"]["payload"]
    run = look["responses"]["200"]["content"]["application/json"]
    with_nodes = {**run["example"], "node_executions": []}
    for schema, value in ((run["schema"], with_nodes), (pending, 5)):
        assert jsonschema_rs.validator_for({**schema, "components": served["components"]}).is_valid(value)


def test_making_the_document_twice_makes_the_same(served: Any) -> None:
    assert json.loads(document(create_app(Settings()))) == served


def test_headers_of_runs_are_documented(served: Any) -> None:
    execute = served["paths"]["/api/graphs/{graph_id}/execute/{graph_version}"]["post"]
    look = served["paths"]["/api/graphs/{graph_id}/executions/{graph_exec_id}"]["get"]

    def asked(operation: Any) -> set[str]:
        return {one["name"] for one in operation["parameters"] if one["in"] == "header" and not one["required"]}

    assert asked(execute) == {"Idempotency-Key", "Prefer"}
    assert asked(look) == {"If-None-Match", "Prefer"}
    assert set(execute["responses"]["200"]["headers"]) == {"Idempotency-Replayed", "Preference-Applied"}
    assert set(look["responses"]["200"]["headers"]) == {"ETag", "Preference-Applied"}
    assert execute["responses"]["409"]["content"]


def test_operation_ids_are_unique(served: Any) -> None:
    ids = [operation["operationId"] for item in served["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_no_reference_dangles(served: Any) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(reference := value.get("$ref"), str):
                target = served
                for step in reference.removeprefix("#/").split("/"):
                    target = target[step]
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(served)


def test_lines_are_told_of_wherever_they_are_taken_and_given(served: Any) -> None:
    told = {
        (verb, NDJSON in operation["requestBody"]["content"], NDJSON in operation["responses"]["200"]["content"])
        for path, item in served["paths"].items()
        for verb, operation in ((path.rpartition("/")[2], one) for one in item.values())
        if NDJSON in json.dumps(operation)
    }
    assert told == {("start", True, True), ("read", True, True), ("stop", True, True)}
    start = served["paths"]["/api/executions/bulk/start"]["post"]
    assert start["requestBody"]["content"][NDJSON]["schema"]["$ref"].endswith("/BulkStart")
    assert start["responses"]["200"]["content"][NDJSON]["schema"]["$ref"].endswith("/BulkResult")
    stop = served["paths"]["/api/executions/bulk/stop"]["post"]
    assert stop["requestBody"]["content"][NDJSON]["schema"]["type"] == "string"
