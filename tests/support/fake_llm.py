"""The fake model as a process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def running(*options: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`agentplat fake-llm` with these options: its base URL, and the process."""
    command = [sys.executable, "-m", "agentplat", "fake-llm", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
                client.get(f"{url}/models").raise_for_status()
            yield url, process
        finally:
            process.terminate()
