from agentplat.engine.messages import (
    MailTaken,
    Message,
    NodeEnded,
    NodeReleased,
    NodeRetried,
    NodeStarted,
    NodeSuspended,
    NodeTerminated,
    NodeYielded,
    RunAborted,
    RunBegan,
    RunEnded,
    RunSuspended,
    decode,
    encode,
)

# One of each, as they stand in journals that exist. A change here breaks the replay of every stored run.
STORED = (
    b'[["began",1],["started",1,2,0],["yielded",1,3,[["a",1],["b",null]]],["ended",1,4,[["c",{"k":[1.5]}]],"boom",2,'
    b'{"extra_steps":1}],["terminated",2,5],["suspended",3,5],["released",3,5,{"v":1}],'
    b'["retried",3,5,"once more"],["mail",4,5],["paused",5],'
    b'["aborted",6,"too late",null],["finished",7]]'
)
MESSAGES: list[Message] = [
    RunBegan(1),
    NodeStarted(1, 2),
    NodeYielded(1, 3, [("a", 1), ("b", None)]),
    NodeEnded(1, 4, [("c", {"k": [1.5]})], "boom", 2, {"extra_steps": 1}),
    NodeTerminated(2, 5),
    NodeSuspended(3, 5),
    NodeReleased(3, 5, {"v": 1}),
    NodeRetried(3, 5, "once more"),
    MailTaken(4, 5),
    RunSuspended(5),
    RunAborted(6, "too late"),
    RunEnded(7),
]


def test_the_stored_form_is_fixed() -> None:
    assert encode(MESSAGES) == STORED
    assert decode(STORED) == MESSAGES


def test_trailing_fields_may_be_absent() -> None:
    assert decode(b'[["ended",1,4,[]],["aborted",6]]') == [NodeEnded(1, 4, []), RunAborted(6)]


def test_control_characters_survive() -> None:
    nasty = "".join(map(chr, range(32))) + "\x7f\u2028\U0001f600"
    assert decode(encode([NodeYielded(1, 1, [("a", nasty)])])) == [NodeYielded(1, 1, [("a", nasty)])]
