"""For Piccolo's own commands (`piccolo migrations check`, `piccolo shell run`): needs DATABASE_URL."""

from piccolo.conf.apps import AppRegistry

from agentplat.infra.db import DB, configure
from agentplat.infra.settings import Settings

configure(Settings.from_env().database_url)

APP_REGISTRY = AppRegistry(apps=["agentplat.piccolo_app"])

__all__ = ["APP_REGISTRY", "DB"]
