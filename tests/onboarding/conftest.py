from tests.credits.conftest import enabled
from tests.support.api import api

__all__ = ["api", "enabled"]
