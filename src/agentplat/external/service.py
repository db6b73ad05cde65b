import msgspec

from agentplat.accounts import service as accounts
from agentplat.accounts.models import User
from agentplat.engine.state import Status
from agentplat.external.models import (
    CredentialsCreated,
    CredentialsGone,
    ExecutionNode,
    ExecutionResult,
    Me,
    SeenRun,
)
from agentplat.integrations import service as integrations
from agentplat.integrations.models import ProgramCredentialsBody
from agentplat.runs import service as runs
from agentplat.runs.models import as_stored

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
