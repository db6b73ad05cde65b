"""What has moved balances, for users and for administrators."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from agentplat.credits import service
from agentplat.credits.errors import ValueInvalid
from agentplat.credits.models import TransactionHistory, TransactionType, UserHistoryResponse, UserTransaction
from agentplat.credits.queries import history as queries
from agentplat.infra.errors import BadValue
from agentplat.infra.paging import page_of

MOST_LISTED = 1000
# What is skipped has to be a number of Postgres'.
LAST_PAGE = 2**31 - 1
# Behind everything that there is.
END = datetime(9999, 12, 31, tzinfo=UTC)


class _Metadata(msgspec.Struct, frozen=True):
    """What of a row's metadata is shown by itself. It is read here and not by the database, which refuses a whole
    document for a text with U+0000."""

    graph_id: str | None = None
    reason: str | None = None
    admin_id: str | None = None


async def of_user(user_id: str, before: datetime | None, kind: str | None, limit: int) -> TransactionHistory:
    """A page of the user's history. A time without a zone is taken for UTC."""
    _check("transaction_count_limit", limit, MOST_LISTED)
    if kind is not None and kind not in TransactionType.__members__:
        raise ValueInvalid(f"expected one of {', '.join(TransactionType)}", "query", "transaction_type")
    if not service.enabled():
        return TransactionHistory(transactions=[], next_transaction_time=None)
    rows = await queries.page(user_id, _in_utc(before) if before else END, kind, limit)
    return TransactionHistory(
        transactions=[_entry(row) for row in rows],
        next_transaction_time=_millisecond(rows[-1]["created_at"]) if len(rows) >= limit else None,
    )


async def of_all(kind: TransactionType | None, search: str | None, number: int, size: int) -> UserHistoryResponse:
    """A page of everybody's ledger, each row for itself, of users whose id, address or name contains `search`."""
    _check("page", number, LAST_PAGE)
    _check("page_size", size, MOST_LISTED)
    if search is not None and "\0" in search:
        raise ValueInvalid("expected a text without U+0000", "query", "search")
    rows, total = await queries.page_of_all(kind, search or None, (number - 1) * size, size)
    admins = [_metadata(row).admin_id if row["type"] == TransactionType.GRANT else None for row in rows]
    emails = await queries.emails_of(found) if (found := {admin for admin in admins if admin}) else {}
    entries = [
        msgspec.structs.replace(
            _entry(row),
            current_balance=row["balance"],
            user_email=row["email"],
            admin_email=emails.get(admin or ""),
            extra_data=row["metadata"].decode() or None,
        )
        for row, admin in zip(rows, admins, strict=True)
    ]
    return UserHistoryResponse(history=entries, pagination=page_of(total, number, size))


def _check(name: str, number: int, most: int) -> None:
    if not 1 <= number <= most:
        raise BadValue(name, f"expected 1 to {most}")


def _millisecond(moment: datetime) -> datetime:
    """All entries since then are on the page."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueInvalid("this time is out of range", "query", "transaction_time") from None


def _metadata(row: Any) -> _Metadata:
    return msgspec.json.decode(row["metadata"], type=_Metadata) if row["metadata"] else _Metadata()


def _entry(row: Any) -> UserTransaction:
    metadata = _metadata(row)
    kind = TransactionType(row["type"])
    members: dict[str, Any] = {
        "transaction_key": row["transaction_key"],
        "transaction_time": row["created_at"],
        "transaction_type": kind,
        "amount": row["amount"],
        "running_balance": row["running_balance"],
        "description": f"{kind} Transaction",
        "user_id": row["user_id"],
        "reason": metadata.reason,
    }
    if row["run_id"] is not None:
        members |= {
            "usage_graph_id": metadata.graph_id,
            "usage_execution_id": row["run_id"],
            "usage_node_count": 1,
            "usage_start_time": row["created_at"],
        }
    if row["run_amount"] is not None:
        members |= {
            "transaction_key": "",
            "amount": row["run_amount"],
            "usage_node_count": row["rows"],
            "usage_start_time": row["since"],
            "description": f"Graph #{metadata.graph_id[:8] if metadata.graph_id else 'UNKNOWN'} Execution",
            "reason": None,
        }
    return UserTransaction(**members)
