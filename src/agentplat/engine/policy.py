"""How long a node may take and how often it is tried: what the block says, overlaid by the node's metadata.

    "metadata": {"timeout": 30, "retry": {"attempts": 3, "delay": 1}}

`timeout` is in seconds per attempt. `attempts` counts all of them; before the n-th retry there is a pause of about
`delay` * 2^(n-1) seconds. Without metadata a node is tried once, for as long as its block allows.
"""

from typing import Any

from msgspec import Struct

from agentplat.sdk.spec import BlockSpec

MAX_ATTEMPTS = 20
MAX_SECONDS = 86_400.0
MAX_PAUSE = 3_600.0


class Policy(Struct, frozen=True):
    """Seconds; `timeout` None means as long as the run may take."""

    timeout: float | None = None
    attempts: int = 1
    delay: float = 1.0

    def pause(self, failed: int, jitter: float) -> float:
        """Seconds between attempt number `failed` and the next one. `jitter` from 0 to 1 spreads retries apart."""
        return float(min(self.delay * 2.0 ** (failed - 1), MAX_PAUSE)) * (0.5 + jitter / 2)


# Without metadata, and without a limit by the block.
ONCE = Policy()


def policy_of(spec: BlockSpec, metadata: dict[str, Any]) -> Policy | None:
    """None where there is nothing to watch: one attempt, no limit. Raises ValueError with what makes no sense."""
    retry = metadata.get("retry")
    if retry is not None and not isinstance(retry, dict):
        raise ValueError("metadata.retry has to be an object with attempts and delay")
    retry = retry or {}
    timeout = _seconds("metadata.timeout", metadata.get("timeout", spec.timeout))
    delay = _seconds("metadata.retry.delay", retry.get("delay", 1.0))
    attempts = retry.get("attempts", 1)
    if type(attempts) is not int or not 1 <= attempts <= MAX_ATTEMPTS:
        raise ValueError(f"metadata.retry.attempts has to be a whole number from 1 to {MAX_ATTEMPTS}")
    if timeout is None and attempts == 1:
        return None
    return Policy(timeout, attempts, 1.0 if delay is None else delay)


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_SECONDS:
        raise ValueError(f"{name} has to be a number of seconds, more than 0 and at most {MAX_SECONDS:g}")
    return float(value)
