from piccolo.columns import BigInt, Text, Timestamptz
from piccolo.table import Table


class Balances(Table, tablename="balances"):
    """What a user may still spend, in credits (1 = 1 US cent). No row means nothing."""

    user_id = Text(primary_key=True, default=None)
    balance = BigInt(default=0)
    updated_at = Timestamptz()
