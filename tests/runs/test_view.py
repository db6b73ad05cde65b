from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from agentplat.runs.view import activation_id, microseconds, moment


@given(st.uuids(version=4), st.sets(st.integers(1, 10**6), min_size=2, max_size=20))
def test_activation_ids_are_uuids_of_their_own(run: UUID, numbers: set[int]) -> None:
    ids = {activation_id(str(run), number) for number in numbers}
    assert len(ids) == len(numbers)
    assert str(run) not in ids
    assert all(UUID(one).version == 4 and len(one) == 36 for one in ids)


@given(st.integers(0, 4_000_000_000_000_000))
def test_times_survive(at: int) -> None:
    assert microseconds(moment(at)) == at
