"""What a model is told of a run, and how its answer is read. Pure."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from agentplat.scoring.errors import JudgementMissing
from agentplat.scoring.models import Judgement, ScoredRun, Seen, SeenNode, SeenRequest

# Characters of one value, and of all that is said of a run: a run may hold anything, and a model reads so much.
LONGEST_VALUE = 500
LONGEST_EVIDENCE = 20_000
MOST_NODES = 60
LONGEST_SUMMARY = 2000

DEFAULT_SYSTEM_PROMPT = """\
You judge runs of an automated agent. You are told what the agent is called, what went in, what its steps did, and \
what came out.

Say first what the run did for the person who uses it: one to three sentences, in the words of that person, without \
technical terms such as node, block or execution. Where something went wrong, say what and, if it can be seen, why.

Then judge how well the run did what the agent is evidently for, from 0.0 (it failed, or what came out is useless) \
over 0.5 (part of it is there) to 1.0 (all of it is there and plausible). That a run ended without an error alone is \
no success: an empty or senseless result is none."""
DEFAULT_USER_PROMPT = """\
The agent: {{GRAPH_NAME}}

What is known of the run:
{{EXECUTION_DATA}}"""
# Not for the administrator to leave out: without it nothing can be read from the answer.
_FORM = """

Answer with one JSON object and nothing else: {"activity_status": "<what the run did>", "correctness_score": <number \
from 0.0 to 1.0>}"""

_DATE = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")
_PLACEHOLDER = re.compile(r"\{\{(GRAPH_NAME|EXECUTION_DATA)\}\}")

_figures = msgspec.json.Decoder(Seen)
_nodes = msgspec.json.Decoder(list[SeenNode])
_request = msgspec.json.Decoder(SeenRequest)
_judgement = msgspec.json.Decoder(Judgement)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def label(model: str) -> str:
    """A model's name for people: `gpt-4o-mini` is `GPT 4o Mini`."""
    words = _DATE.sub("", model.rpartition("/")[2]).replace("_", "-").split("-")
    return " ".join("GPT" if word == "gpt" else word[:1].upper() + word[1:] for word in words)


def figures(run: ScoredRun) -> Seen:
    return _figures.decode(run.stats or b"{}")


def with_judgement(stats: bytes, judgement: Judgement) -> bytes:
    """A run's figures with the judgement among them, and else as they were."""
    return _encode(_members.decode(stats) | msgspec.structs.asdict(judgement))


def messages(
    run: ScoredRun, block_name: Callable[[str], str], system: str | None, user: str | None
) -> list[dict[str, Any]]:
    """What to ask a model. Blank prompts count as none. What a run has said is no template, whatever it looks like."""
    values = {"GRAPH_NAME": run.graph_name, "EXECUTION_DATA": evidence(run, block_name)}
    asked = _PLACEHOLDER.sub(lambda found: values[found[1]], (user or "").strip() or DEFAULT_USER_PROMPT)
    return [
        {"role": "system", "content": ((system or "").strip() or DEFAULT_SYSTEM_PROMPT) + _FORM},
        {"role": "user", "content": asked},
    ]


def evidence(run: ScoredRun, block_name: Callable[[str], str]) -> str:
    """What is known of a run, in lines, the end first: steps in the middle are what can be done without."""
    seen = figures(run)
    head = [f"Status: {run.status}"]
    if seen.error:
        head.append(f"Error: {_short(seen.error)}")
    head.append(f"Steps: {seen.node_exec_count}, failed: {seen.node_error_count}")
    if run.request is not None:
        head.append(f"Inputs: {_short_json(_request.decode(run.request).shown)}")
    head.append(f"Outputs: {'(too large to be shown)' if run.outputs is None else _short_json(run.outputs)}")
    if run.node_executions is None:
        return "\n".join([*head, "The steps are too large to be shown."])
    lines = [_line(node, block_name(node.block_id)) for node in _nodes.decode(run.node_executions)]
    if len(lines) > MOST_NODES:
        half = MOST_NODES // 2
        lines = [*lines[:half], f"({len(lines) - MOST_NODES} more)", *lines[-half:]]
    return _short("\n".join([*head, *lines]), LONGEST_EVIDENCE)


def _line(node: SeenNode, name: str) -> str:
    return f"{name} ({node.status}): {_short_json(node.input_data)} -> {_short_json(node.output_data)}"


def judgement_of(text: str) -> Judgement:
    """What a model has answered, with whatever it has put around the object. Raises JudgementMissing."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        found = _judgement.decode(text[begin : end + 1])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise JudgementMissing from None
    return msgspec.structs.replace(found, activity_status=_short(found.activity_status.strip(), LONGEST_SUMMARY))


def _short_json(document: bytes | msgspec.Raw) -> str:
    return _short(bytes(document).decode())


def _short(text: str, most: int = LONGEST_VALUE) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
