from tests.support.api import api
from tests.support.uploading import storage

__all__ = ["api", "storage"]
