"""Settings that are different for one test."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agentplat.infra.settings import get_settings


@contextmanager
def environment_of(**variables: str) -> Iterator[None]:
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            get_settings.cache_clear()
            yield
    finally:
        get_settings.cache_clear()
