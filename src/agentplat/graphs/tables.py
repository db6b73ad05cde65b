from piccolo.columns import Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


class GraphVersions(Table, tablename="graph_versions"):
    """All versions of all graphs; (id, version) is the key. `body` is the JSON of nodes and links."""

    id = Text(primary_key=True, default=None)
    version = Integer()
    user_id = Text()
    name = Text()
    description = Text()
    instructions = Text(null=True, default=None)
    recommended_schedule_cron = Text(null=True, default=None)
    is_active = Boolean(default=True)
    forked_from_id = Text(null=True, default=None)
    forked_from_version = Integer(null=True, default=None)
    body = Bytea()
    created_at = Timestamptz()


class LibraryAgents(Table, tablename="library_agents"):
    """Which graphs a user has at hand, and how runs of them behave.

    It lives here because saving, activating, deleting and running a graph all act on it within their own transaction.
    """

    id = Text(primary_key=True, default=None)
    user_id = Text()
    graph_id = Text()
    graph_version = Integer()
    is_created_by_user = Boolean(default=False)
    is_favorite = Boolean(default=False)
    is_archived = Boolean(default=False)
    is_deleted = Boolean(default=False)
    settings = Text(default="{}")
    created_at = Timestamptz()
    updated_at = Timestamptz()
