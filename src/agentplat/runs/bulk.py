"""Many runs in one request: each item is answered as if it had been asked alone, and none costs a statement of its own.

All runs of a request are committed together. So an error of ours fails the request as a whole and nothing was started;
with keys, it can be sent again as it is.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from agentplat.credits import service as credits
from agentplat.events import facts
from agentplat.graphs import service as graphs
from agentplat.infra.errors import AppError
from agentplat.infra.ids import is_id
from agentplat.infra.uow import unit_of_work
from agentplat.runs import acceptance, idempotency, queries, stopping, storing, view
from agentplat.runs.errors import IdempotencyKeyReused, InsufficientBalance, RunNotFound
from agentplat.runs.events import RunRequested
from agentplat.runs.idempotency import Claim
from agentplat.runs.models import BulkError, BulkResult, BulkStart, RunRow, StartedRun

# After how many drafts others get their turn: a draft is computing alone.
DRAFTS_AT_ONCE = 20

_encode = msgspec.json.Encoder().encode
_started_runs = msgspec.json.Decoder(StartedRun)

# What items stand for by their keys; those without one have none.
Claims = dict[str | None, Claim]
# Why runs were not stored, by id.
Refused = dict[str, AppError]


async def start(user_id: str, items: Sequence[BulkStart]) -> list[BulkResult]:
    """Start runs, each at most once under its key. Several items of one request may have the same key."""
    # Asked before anything is checked: what was accepted stays accepted, also when the balance is gone since.
    keys = {item.idempotency_key for item in items if item.idempotency_key is not None}
    claims: Claims = {}
    if keys:
        claims.update(await idempotency.find(user_id, keys))
    drafts = await _drafts(user_id, items, claims)
    if refused_keys := {
        item.idempotency_key
        for item, draft in zip(items, drafts, strict=True)
        if isinstance(draft, AppError) and item.idempotency_key is not None
    }:
        # The same may have been accepted meanwhile, and its run have spent what is asked for now.
        late = await idempotency.find(user_id, refused_keys)
        claims.update(late)
        drafts = [None if item.idempotency_key in late else draft for item, draft in zip(items, drafts, strict=True)]
    rows = [(item, row) for item, row in zip(items, drafts, strict=True) if isinstance(row, RunRow)]
    refused = await _store(user_id, rows, claims) if rows else {}
    return [
        _answer(item, row, claims.get(item.idempotency_key), refused) for item, row in zip(items, drafts, strict=True)
    ]


async def _drafts(user_id: str, items: Sequence[BulkStart], claims: Claims) -> list[RunRow | AppError | None]:
    """The row of each run to be, or why there is none; None where the item's key stands for a run already, or is an
    earlier item's."""
    versions = await graphs.runnables(user_id, {(item.graph_id, item.graph_version) for item in items})
    found = [version[0] for version in versions.values() if not isinstance(version, AppError)]
    given = [one.id for item in items for one in item.credentials_inputs.values()]
    known = await graphs.known_credentials(user_id, found, given)
    balance = await credits.balance(user_id)
    taken = set(claims)
    drafts: list[RunRow | AppError | None] = []
    for number, item in enumerate(items):
        if number % DRAFTS_AT_ONCE == 0:
            await asyncio.sleep(0)
        if item.idempotency_key in taken:
            drafts.append(None)
            continue
        try:
            if balance <= 0:
                raise InsufficientBalance
            version = versions[item.graph_id, item.graph_version]
            if isinstance(version, AppError):
                raise version
            drafts.append(await acceptance.draft_of(user_id, *version, item.body, item.preset_id, known))
        except AppError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            drafts.append(error)
        else:
            if item.idempotency_key is not None:
                taken.add(item.idempotency_key)
    return drafts


async def _store(user_id: str, drafted: Sequence[tuple[BulkStart, RunRow]], claims: Claims) -> Refused:
    """Claim the keys and store the runs that are to be. Returns by id why a run was not stored."""
    wanted = {
        item.idempotency_key: Claim(
            fingerprint=_fingerprint(item), run_id=row.id, response=_encode(view.started_run(row))
        )
        for item, row in drafted
        if item.idempotency_key is not None
    }
    async with unit_of_work():
        if wanted:
            claims.update(await idempotency.claim(user_id, wanted))
        ours = [row for item, row in drafted if _run_id(row, claims.get(item.idempotency_key)) == row.id]
        refused = await storing.store(ours) if ours else {}
        if unused := [key for key, claim in wanted.items() if claim.run_id in refused]:
            await idempotency.release(user_id, unused)
    if stored := {row.id: row for row in ours if row.id not in refused}:
        await acceptance.announce(*stored.values())
    for source in dict.fromkeys(item.source for item, row in drafted if row.id in stored and item.source):
        await facts.tell(RunRequested(user_id=user_id, source=source))
    return refused


def _answer(item: BulkStart, draft: RunRow | AppError | None, claim: Claim | None, refused: Refused) -> BulkResult:
    if isinstance(draft, AppError):
        return _refused(draft)
    if claim is not None and claim.fingerprint != _fingerprint(item):
        return _refused(IdempotencyKeyReused())
    if error := refused.get(_run_id(draft, claim) or ""):
        return _refused(error)
    if claim is not None and (draft is None or draft.id != claim.run_id):
        return BulkResult(status=HTTPStatus.OK, run=_started_runs.decode(claim.response), replayed=True)
    assert draft is not None  # without a claim there is always one
    return BulkResult(status=HTTPStatus.OK, run=view.started_run(draft))


def _run_id(draft: RunRow | None, claim: Claim | None) -> str | None:
    """The run that an item has: that of its key, if it has one."""
    return claim.run_id if claim is not None else draft.id if draft is not None else None


def _fingerprint(item: BulkStart) -> bytes:
    """That of the same request alone."""
    return idempotency.fingerprint(item.graph_id, item.graph_version, item.preset_id, item.body)


async def read(user_id: str, run_ids: Sequence[str], *, outputs: bool) -> list[BulkResult]:
    """Runs as lists show them; final ones with their outputs, if asked for."""
    rows = await queries.get_many(user_id, [run_id for run_id in run_ids if is_id(run_id)], outputs=outputs)
    return _shown(run_ids, rows, outputs=outputs)


async def stop(user_id: str, run_ids: Sequence[str]) -> list[BulkResult]:
    """Stop runs with all runs below them. Those that are over stay as they are. Answers with the states after that."""
    asked = list({run_id for run_id in run_ids if is_id(run_id)})
    await stopping.stop_trees(user_id, asked)
    return _shown(run_ids, await stopping.wait_for_ends(user_id, asked))


def _shown(run_ids: Sequence[str], rows: dict[str, RunRow], *, outputs: bool = False) -> list[BulkResult]:
    return [
        _refused(RunNotFound(run_id))
        if (row := rows.get(run_id)) is None
        else BulkResult(status=HTTPStatus.OK, run=view.started_run(row) if outputs else view.listed_run(row))
        for run_id in run_ids
    ]


def _refused(error: AppError) -> BulkResult:
    detail = error.message if error.detail is None else error.detail
    shown = BulkError(code=error.code, message=error.message, detail=detail, hint=error.hint)
    return BulkResult(status=error.status, error=shown)
