from piccolo.columns import BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class Balances(Table, tablename="balances"):
    """What a user may still spend, in credits (1 = 1 US cent). No row means nothing.

    `executions` are the node executions that the execution fee has not been taken for yet. `top_up_due` is set by the
    statement that takes the balance below the threshold. `refilled_in` is the month of the last refill, as YYYY-MM.
    """

    user_id = Text(primary_key=True, default=None)
    balance = BigInt(default=0)
    updated_at = Timestamptz()
    executions = BigInt(default=0)
    top_up_amount = BigInt(default=0)
    top_up_threshold = BigInt(default=0)
    top_up_due = Boolean(default=False)
    refilled_in = Text(null=True, default=None)


class CreditTransactions(Table, tablename="credit_transactions"):
    """The ledger; (user_id, transaction_key) is the key. A user's rows add up to their balance, always.

    Rows are only added; the database refuses to change them. `run_id` is what usage was for.
    """

    user_id = Text(primary_key=True, default=None)
    transaction_key = Text()
    amount = BigInt()
    type = Text()
    running_balance = BigInt()
    metadata = Bytea()
    created_at = Timestamptz()
    run_id = Text(null=True, default=None)


class ShortageNotices(Table, tablename="shortage_notices"):
    """When the user was last told that a run of the graph ran out of credits. (user_id, graph_id) is the key."""

    user_id = Text(primary_key=True, default=None)
    graph_id = Text()
    noted_at = Timestamptz()


class StripeCustomers(Table, tablename="stripe_customers"):
    user_id = Text(primary_key=True, default=None)
    customer_id = Text()


class Payments(Table, tablename="payments"):
    """Money that is to come in for credits: `amount` are the credits, `paid` the cents that were paid for them.

    Once PAID, the ledger has a row under `intent_id`, or under `session_id` where nothing had to be paid. A payment
    that is PENDING is looked after again at `attempt_at`.
    """

    id = Text(primary_key=True, default=None)
    user_id = Text()
    kind = Text()
    amount = BigInt()
    paid = BigInt(default=0)
    status = Text(default="PENDING")
    session_id = Text(null=True, default=None)
    intent_id = Text(null=True, default=None)
    failure = Text(null=True, default=None)
    attempts = Integer(default=0)
    attempt_at = Timestamptz()
    created_at = Timestamptz()
    updated_at = Timestamptz()


class PaymentReversals(Table, tablename="payment_reversals"):
    """Refunds and disputes by Stripe's ids, of `amount` cents. `credits` is what each took from the balance.

    The payment is found by `intent_id`, and may become known later than its reversal.
    """

    id = Text(primary_key=True, default=None)
    intent_id = Text()
    amount = BigInt()
    credits = BigInt(default=0)
    state = Text()
    conceded = Boolean(null=True, default=None)
    answered = Boolean(default=False)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class RefundRequests(Table, tablename="refund_requests"):
    """What users want back. `details` is what they sent along, as JSON. One request of a top-up is PENDING at most.

    `frozen` are the credits that a PENDING one counts on, if Stripe was asked for it: no other refund may.
    """

    id = Text(primary_key=True, default=None)
    user_id = Text()
    transaction_key = Text()
    amount = BigInt()
    reason = Text()
    details = Bytea()
    result = Text(null=True, default=None)
    status = Text(default="PENDING")
    frozen = BigInt(default=0)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class StripeEvents(Table, tablename="stripe_events"):
    """What Stripe has told and needn't tell again."""

    id = Text(primary_key=True, default=None)
    type = Text()
    done_at = Timestamptz()
