"""The tables as the code sees them, against the database that the migrations make."""

from piccolo.table import Table

from agentplat.infra.db import Database
from agentplat.piccolo_app import APP_CONFIG

TYPES = {
    "TEXT": "text",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "BYTEA": "bytea",
    "DATE": "date",
    "DOUBLE PRECISION": "double precision",
    "JSON": "json",
    "TEXT[]": "ARRAY",
    "TIMESTAMPTZ": "timestamp with time zone",
}


async def test_every_table_class_matches_the_database(db: Database) -> None:
    rows = await db.fetch(
        "SELECT table_name, column_name, data_type, is_nullable = 'YES' AS nullable FROM information_schema.columns"
        " WHERE table_schema = 'public'"
    )
    actual: dict[str, dict[str, tuple[str, bool]]] = {}
    for row in rows:
        actual.setdefault(row["table_name"], {})[row["column_name"]] = (row["data_type"], row["nullable"])
    tables: list[type[Table]] = APP_CONFIG.table_classes
    assert tables
    for table in tables:
        declared = {column._meta.name: (TYPES[column.column_type], column._meta.null) for column in table._meta.columns}
        assert declared == actual[table._meta.tablename], table


async def test_every_table_of_the_database_has_a_class(db: Database) -> None:
    rows = await db.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace AND relname <> 'migration'"
    )
    assert {row["relname"] for row in rows} == {table._meta.tablename for table in APP_CONFIG.table_classes}
