"""The credits that a refund on its way to Stripe counts on."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from agentplat.infra.statements import migration

ID = "2026-11-29T09:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "refund_requests.frozen"

STATEMENTS = ["ALTER TABLE refund_requests ADD COLUMN frozen bigint NOT NULL DEFAULT 0 CHECK (frozen >= 0)"]
UNDO = ["ALTER TABLE refund_requests DROP COLUMN IF EXISTS frozen"]


async def forwards() -> MigrationManager:
    return migration(ID, DESCRIPTION, STATEMENTS, UNDO)
