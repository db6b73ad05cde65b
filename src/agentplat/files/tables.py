from piccolo.columns import BigInt, Bytea, Text, Timestamptz
from piccolo.table import Table


class Files(Table, tablename="files"):
    """Uploaded files. One without `size` and `sha256` is still on its way, and nobody sees it."""

    id = Text(primary_key=True, default=None)
    user_id = Text(null=True, default=None)
    name = Text()
    content_type = Text()
    size = BigInt(null=True, default=None)
    sha256 = Bytea(null=True, default=None)
    created_at = Timestamptz()
    expires_at = Timestamptz()


class FileUsage(Table, tablename="file_usage"):
    """Bytes of a user's files that are complete, until they are removed."""

    user_id = Text(primary_key=True, default=None)
    bytes = BigInt()
