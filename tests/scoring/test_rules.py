"""What a model is told of a run."""

import json
from typing import Any

import pytest

from agentplat.scoring import rules
from agentplat.scoring.errors import JudgementMissing
from agentplat.scoring.models import Judgement, ScoredRun

NODE = {"block_id": "b", "status": "COMPLETED", "input_data": {"x": 1}, "output_data": {"y": [2]}, "more": 3}


def run(**members: Any) -> ScoredRun:
    documents = {
        "stats": {"error": "no money", "node_exec_count": 2, "node_error_count": 1},
        "request": {"shown": {"name": "Ada"}},
        "outputs": {"greeting": ["{{GRAPH_NAME}}"]},
        "node_executions": [NODE],
    } | members
    encoded: dict[str, Any] = {
        name: None if value is None else json.dumps(value).encode() for name, value in documents.items()
    }
    return ScoredRun(
        id="r",
        user_id="u",
        graph_id="g",
        graph_version=1,
        status="FAILED",
        graph_name="Greeter",
        started_at=None,
        ended_at=None,
        **encoded,
    )


def test_the_prompt_says_what_is_known_and_asks_for_a_form() -> None:
    system, user = rules.messages(run(), lambda _: "Step", None, " ")
    assert system["content"].startswith(rules.DEFAULT_SYSTEM_PROMPT)
    assert "correctness_score" in system["content"].removeprefix(rules.DEFAULT_SYSTEM_PROMPT)
    for part in ("Greeter", "FAILED", "no money", "Ada", 'Step (COMPLETED): {"x": 1} -> {"y": [2]}'):
        assert part in user["content"]
    # What a run has said is passed on as it is.
    assert '{"greeting": ["{{GRAPH_NAME}}"]}' in user["content"]


def test_prompts_of_ones_own() -> None:
    system, user = rules.messages(run(), lambda _: "Step", "Be strict.", "Only {{GRAPH_NAME}}, not {{OTHER}}")
    assert system["content"].startswith("Be strict.")
    assert "activity_status" in system["content"]
    assert user["content"] == "Only Greeter, not {{OTHER}}"


def test_large_runs_are_told_of_in_few_words() -> None:
    large = "x" * 100_000
    told = rules.evidence(run(outputs={"o": [large]}, node_executions=[NODE] * 1000), lambda _: "Step")
    assert len(told) <= rules.LONGEST_EVIDENCE
    assert f"({1000 - rules.MOST_NODES} more)" in told
    assert "too large" in rules.evidence(run(outputs=None, node_executions=None), lambda _: "Step")


@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "I think: {} That is all."])
def test_an_answer_is_found_in_what_is_around_it(around: str) -> None:
    answer = around.replace("{}", '{"activity_status": " Done. ", "correctness_score": 1, "why": {"a": "}"}}')
    assert rules.judgement_of(answer) == Judgement(activity_status="Done.", correctness_score=1.0)


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "",
            "}{",
            "{}",
            "[]",
            "no",
            '{"activity_status": "a"}',
            '{"activity_status": "a", "correctness_score": 1.01}',
        ),
        *(
            '{"activity_status": "a", "correctness_score": NaN}',
            '{"activity_status": "\\ud800", "correctness_score": 1}',
        ),
        *('{"activity_status": "a", "correctness_score": "1"}', '{"a":' * 100_000 + "}"),
    ],
)
def test_other_answers_are_none(answer: str) -> None:
    with pytest.raises(JudgementMissing):
        rules.judgement_of(answer)


def test_figures_keep_what_is_not_known_here() -> None:
    figures = rules.with_judgement(b'{"cost":7,"new":[1]}', Judgement(activity_status="Done.", correctness_score=0.5))
    assert json.loads(figures) == {"cost": 7, "new": [1], "activity_status": "Done.", "correctness_score": 0.5}


@pytest.mark.parametrize(
    ("name", "label"),
    [("gpt-4o-mini", "GPT 4o Mini"), ("gpt-5.2-2025-12-11", "GPT 5.2"), ("o3-mini", "O3 Mini")],
)
def test_labels(name: str, label: str) -> None:
    assert rules.label(name) == label
