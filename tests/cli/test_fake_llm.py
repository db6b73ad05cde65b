"""`agentplat fake-llm` as a process."""

import signal

import httpx
import pytest

from tests.support.fake_llm import running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_prints_its_url_answers_and_stops(number: signal.Signals) -> None:
    with running("--tokens", "2", "--token-ms", "50") as (url, process):
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        answer = httpx.post(f"{url}/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == "About Hi:"
        assert answer.elapsed.total_seconds() >= 0.05
        process.send_signal(number)
        assert process.wait(60) == 0
