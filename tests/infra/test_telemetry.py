import subprocess
import sys

import msgspec

SCRIPT = """
import logging
from agentplat.infra.settings import Settings
from agentplat.infra.telemetry import configure_logging, get_logger
log = get_logger("ours")
configure_logging(Settings(log_level="INFO", log_format={format!r}))
log.info("run_started", run_id="r1")
log.debug("too_detailed")
logging.getLogger("theirs").warning("count is %d", 3)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def run(log_format: str) -> str:
    # In a process of its own, because the configuration is that of the whole process.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(format=log_format)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_one_json_object_per_line_for_everybody() -> None:
    ours, theirs, failed = map(msgspec.json.decode, run("auto").splitlines())
    assert ours["event"] == "run_started"
    assert (ours["run_id"], ours["level"], ours["logger"]) == ("r1", "info", "ours")
    assert theirs["event"] == "count is 3"
    assert failed["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_columns_for_people() -> None:
    text = run("console")
    assert "run_started" in text
    assert "run_id=r1" in text
    assert "ZeroDivisionError" in text
