"""What a letter means for the activation that it is about, as messages for the run's machine."""

from agentplat.blocks import service as blocks
from agentplat.engine.activation import Activation
from agentplat.engine.messages import Message, NodeEnded, NodeReleased, NodeRetried, NodeYielded
from agentplat.engine.policy import ONCE
from agentplat.engine.state import Status
from agentplat.runs.letters import Letter, NodeReported, ReviewAnswered, SubRunEnded

INTERRUPTED = "interrupted: the worker stopped before this node's outcome was recorded"


def messages_of(act: Activation, letter: Letter, at: int) -> list[Message]:
    """None, where the activation was ended otherwise."""
    if isinstance(letter, ReviewAnswered):
        return [_answered(act, letter, at)] if act.status is Status.REVIEW else []
    if act.status is not Status.RUNNING:
        return []
    if isinstance(letter, NodeReported):
        return _reported(act, letter, at)
    if isinstance(letter, SubRunEnded):
        stats = {"extra_steps": letter.node_count, "extra_cost": letter.cost}
        return [NodeEnded(act.number, at, [], None, None, stats)]
    if letter.name == "error":
        return [NodeEnded(act.number, at, [], _failure(act, str(letter.values[0])))]
    return [NodeYielded(act.number, at, [(letter.name, value) for value in letter.values])]


def interrupted(act: Activation, at: int) -> NodeEnded:
    """The end of a node of which nobody knows how far it came."""
    return NodeEnded(act.number, at, [], _failure(act, INTERRUPTED))


def _reported(act: Activation, report: NodeReported, at: int) -> list[Message]:
    if report.attempt != act.attempts:
        return []
    yielded: list[Message] = [NodeYielded(act.number, at, report.outputs)] if report.outputs else []
    if not report.over:
        return yielded
    if report.interrupted:
        return [interrupted(act, at)]
    if report.error is not None and act.attempts + 1 < (act.node.policy or ONCE).attempts:
        return [*yielded, NodeRetried(act.number, at, report.error)]
    return [NodeEnded(act.number, at, report.outputs, report.error, None, report.stats)]


def _answered(act: Activation, letter: ReviewAnswered, at: int) -> Message:
    if act.node.is_review:
        name = "approved_data" if letter.approved else "rejected_data"
        return NodeEnded(act.number, at, [(name, letter.data), ("review_message", letter.message)])
    if letter.approved:
        return NodeReleased(act.number, at, letter.data if letter.edited else None)
    return NodeEnded(act.number, at, [], _failure(act, f"Block execution rejected by reviewer: {letter.message}"))


def _failure(act: Activation, message: str) -> str:
    return blocks.failure_text(act.node.spec.name, act.node.spec.id, message)
