import msgspec

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.engine.state import Status
from agentplat.external.models import (
    AgentsFound,
    CredentialsCreated,
    CredentialsGone,
    ExecutionNode,
    ExecutionResult,
    FoundAgent,
    Me,
    NoResults,
    SeenRun,
    ToolError,
)
from agentplat.graphs import service as graphs
from agentplat.integrations import service as integrations
from agentplat.integrations.models import ProgramCredentialsBody
from agentplat.runs import service as runs
from agentplat.runs.models import as_stored

# As many agents as the contract shows of a search.
MOST_FOUND = 5

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SeenRun).decode


async def me(user: User) -> Me:
    zone = await accounts.timezone(user)
    return Me(id=user.id, name=user.name, email=user.email or "", timezone=zone.timezone)


async def result(user: User, graph_id: str, run_id: str) -> ExecutionResult:
    """How far a run has come. What its nodes said is passed on as it is stored."""
    run = await runs.get(user.id, graph_id, run_id)
    seen = _decode(_encode(run))
    completed = run.status == Status.COMPLETED
    return ExecutionResult(
        execution_id=run_id,
        status=run.status,
        nodes=[
            ExecutionNode(
                node_id=node.node_id,
                input=node.input_data.get("value", node.input_data),
                output=as_stored(bytes(node.output_data)),
            )
            for node in seen.node_executions
        ],
        output=[{name: value} for name, values in seen.outputs.items() for value in values] if completed else None,
    )


async def create_credentials(user: User, provider: str, body: ProgramCredentialsBody) -> CredentialsCreated:
    entry = await integrations.create(user.id, integrations.known_provider(provider), body)
    return CredentialsCreated(id=entry.id, provider=entry.provider, type=body.type, title=entry.title)


async def delete_credentials(user: User, provider: str, credentials_id: str) -> CredentialsGone:
    """The same as people get, but for the question whether they are sure, which the contract does not ask here."""
    await integrations.delete(user.id, provider, credentials_id, force=True)
    return CredentialsGone(deleted=True, credentials_id=credentials_id)


async def find_agents(user: User, query: str) -> AgentsFound | NoResults | ToolError:
    """The key's owner's own agents that fit a query."""
    if not query.strip():
        return ToolError(message="Say in 'query' what the agent should be about.", error="empty_query")
    found = await graphs.search(user, query, MOST_FOUND)
    if not found:
        return NoResults(
            message="None of your agents has all of these words in its name or description.",
            suggestions=["Use fewer words", "Use words from the agent's name"],
        )
    agents = [
        FoundAgent(id=one.id, name=one.name, description=one.description, graph_id=one.graph_id, source="library")
        for one in found
    ]
    many = "1 agent" if len(agents) == 1 else f"{len(agents)} agents"
    return AgentsFound(message=f"Found {many} of yours.", title="Your agents", agents=agents, count=len(agents))
