from piccolo.columns import Array, Bytea, Text, Timestamptz
from piccolo.table import Table


class StoredCredentials(Table, tablename="credentials"):
    """One secret of one user; (user_id, id) is the key. What stands beside `sealed` may be shown."""

    user_id = Text(primary_key=True, default=None)
    id = Text()
    provider = Text()
    type = Text()
    title = Text(null=True, default=None)
    scopes = Array(base_column=Text(), null=True, default=None)
    username = Text(null=True, default=None)
    host = Text(null=True, default=None)
    sealed = Bytea()
    created_at = Timestamptz()
