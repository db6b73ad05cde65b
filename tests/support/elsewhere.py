"""Where a request names things otherwise than in its path: in its body, or behind the question mark.

What can be named there and has no line here fails `tests/server/test_operations.py`, unless it is said to name nothing
that is anybody's.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from tests.support.api import echo_graph
from tests.support.graphs import AGENT
from tests.support.operations import INTEGRATIONS, SCHEDULE, SCHEDULES, SECRET, Ids, Sent

NAMES = re.compile(r"(^|_|\.)(ids?|before)$|Ids?$")
GROUP = "vault_api_key-host_scoped-oauth2-user_password_credentials"
# Names of the parts of one graph, of what belongs to everybody, of what there isn't yet, and of a time.
NOBODYS = re.compile(
    r"((nodes|links)\.id|source_id|sink_id|block_id|forked_from_id|preset_id|selectedStoreListingVersionId)$"
)
TIMES = {("GET /api/schedules/{schedule_id}/firings", "before")}


class Elsewhere(Struct, frozen=True):
    """`member` is where, `thing` says which of Ann's things it is, `sent` makes the body that names one."""

    operation: str
    member: str
    thing: str
    answer: int
    sent: Callable[[Ids], Any] = lambda _: None
    query: str = ""

    def call(self, own: Ids, named: str) -> tuple[str, str, Any]:
        """`own` are the things of whoever asks."""
        method, _, path = self.operation.partition(" ")
        ids = own | {"named": named}
        body = self.sent(ids)
        return method, (path + self.query).format_map(ids), body if isinstance(body, Sent) else {"json": body}


def members(schemas: dict[str, Any], schema: Any, path: str = "", above: frozenset[str] = frozenset()) -> Iterator[str]:
    """All members that a value of this schema may have, as a.b, whatever lists and maps lie between."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if name and name not in above:
        yield from members(schemas, schemas[name], path, above | {name})
    for member, inner in schema.get("properties", {}).items():
        yield path + member
        yield from members(schemas, inner, f"{path}{member}.", above)
    further = [schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())]
    for inner in (one for one in further if isinstance(one, dict)):
        yield from members(schemas, inner, path, above)


def named(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Operations of the document that are not for administrators, with the members of bodies and queries by which they
    name something of somebody's, as one sees by the members' own names.
    """
    schemas, found = document["components"]["schemas"], set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            asked = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                asked += members(schemas, content["schema"])
            found |= {(f"{method.upper()} {path}", member) for member in asked if NAMES.search(member)}
    return {one for one in found - TIMES if not NOBODYS.search(one[1]) and "/admin/" not in one[0]}


def credentials(named: str) -> Any:
    return {GROUP: {"id": named, "provider": "vault", "type": "api_key", "title": None}}


def as_line(item: Any) -> Sent:
    return Sent(content=json.dumps(item), headers={"Content-Type": "application/x-ndjson"})


def nested(named: str) -> Any:
    """A graph that runs another."""
    node = {"graph_id": named, "graph_version": 1, "user_id": "ann", "input_schema": {}, "output_schema": {}}
    return echo_graph(nodes=[{"id": "n", "block_id": AGENT, "input_default": node}], links=[])


BULK = "POST /api/executions/bulk"
ELSEWHERE = [
    Elsewhere("GET /api/executions", "before", "graph_exec_id", 404, query="?before={named}"),
    Elsewhere(f"{BULK}/read", "ids", "graph_exec_id", 200, lambda ids: {"ids": [ids["named"]]}),
    Elsewhere(f"{BULK}/stop", "ids", "graph_exec_id", 200, lambda ids: {"ids": [ids["named"]]}),
    Elsewhere(f"{BULK}/start", "runs.graph_id", "graph_id", 200, lambda ids: {"runs": [{"graph_id": ids["named"]}]}),
    # One of the lines that there are if it is sent as lines.
    Elsewhere(f"{BULK}/start", "graph_id", "graph_id", 200, lambda ids: as_line({"graph_id": ids["named"]})),
    Elsewhere(
        f"{BULK}/start",
        "runs.credentials_inputs.id",
        "cred_id",
        200,
        lambda ids: {"runs": [{"graph_id": ids["graph_id"], "credentials_inputs": credentials(ids["named"])}]},
    ),
    Elsewhere(
        f"{BULK}/start",
        "credentials_inputs.id",
        "cred_id",
        200,
        lambda ids: as_line({"graph_id": ids["graph_id"], "credentials_inputs": credentials(ids["named"])}),
    ),
    Elsewhere("POST /api/graphs", "graph.id", "graph_id", 200, lambda ids: {"graph": echo_graph(id=ids["named"])}),
    Elsewhere(
        "POST /api/graphs",
        "graph.sub_graphs.id",
        "graph_id",
        200,
        lambda ids: {"graph": echo_graph(sub_graphs=[echo_graph(id=ids["named"])])},
    ),
    # By the input of a node.
    Elsewhere("POST /api/graphs", "graph.nodes", "graph_id", 200, lambda ids: {"graph": nested(ids["named"])}),
    Elsewhere("PUT /api/graphs/{graph_id}", "id", "graph_id", 400, lambda ids: echo_graph(id=ids["named"])),
    Elsewhere(
        "PUT /api/graphs/{graph_id}",
        "sub_graphs.id",
        "graph_id",
        200,
        lambda ids: echo_graph(sub_graphs=[echo_graph(id=ids["named"])]),
    ),
    Elsewhere(
        "POST /api/graphs/{graph_id}/execute/{graph_version}",
        "credentials_inputs.id",
        "cred_id",
        400,
        lambda ids: {"credentials_inputs": credentials(ids["named"])},
    ),
    Elsewhere(
        "POST /api/graphs/{graph_id}/schedules",
        "credentials.id",
        "cred_id",
        400,
        lambda ids: SCHEDULE | {"credentials": credentials(ids["named"])},
    ),
    Elsewhere(
        f"PATCH {SCHEDULES}/{{schedule_id}}",
        "credentials.id",
        "cred_id",
        400,
        lambda ids: {"credentials": credentials(ids["named"])},
    ),
    Elsewhere(
        f"POST {INTEGRATIONS}/{{provider}}/credentials", "id", "cred_id", 201, lambda ids: SECRET | {"id": ids["named"]}
    ),
    Elsewhere(
        "PATCH /api/onboarding",
        "onboardingAgentExecutionId",
        "graph_exec_id",
        200,
        lambda ids: {"onboardingAgentExecutionId": ids["named"]},
    ),
    Elsewhere(
        "POST /api/review/action",
        "reviews.node_exec_id",
        "node_exec_id",
        404,
        lambda ids: {"reviews": [{"node_exec_id": ids["named"], "approved": True}]},
    ),
]
