from piccolo.columns import BigInt, Boolean, Bytea, Text, Timestamptz
from piccolo.table import Table


class Balances(Table, tablename="balances"):
    """What a user may still spend, in credits (1 = 1 US cent). No row means nothing.

    `executions` are the node executions that the execution fee has not been taken for yet.
    """

    user_id = Text(primary_key=True, default=None)
    balance = BigInt(default=0)
    updated_at = Timestamptz()
    executions = BigInt(default=0)


class CreditTransactions(Table, tablename="credit_transactions"):
    """The ledger; (user_id, transaction_key) is the key. The active rows of a user add up to their balance, always."""

    user_id = Text(primary_key=True, default=None)
    transaction_key = Text()
    amount = BigInt()
    type = Text()
    running_balance = BigInt()
    metadata = Bytea()
    is_active = Boolean(default=True)
    created_at = Timestamptz()


class ShortageNotices(Table, tablename="shortage_notices"):
    """When the user was last told that a run of the graph ran out of credits. (user_id, graph_id) is the key."""

    user_id = Text(primary_key=True, default=None)
    graph_id = Text()
    noted_at = Timestamptz()
