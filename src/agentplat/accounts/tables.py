from piccolo.columns import Text, Timestamptz
from piccolo.table import Table


class Users(Table, tablename="users"):
    """`id` is the auth provider's; the row appears with the first request that carries it."""

    id = Text(primary_key=True, default=None)
    email = Text(null=True, default=None)
    name = Text(null=True, default=None)
    timezone = Text(default="not-set")
    created_at = Timestamptz()
    updated_at = Timestamptz()
