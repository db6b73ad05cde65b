import pytest

from agentplat.infra.ids import is_id, new_id


def test_new_ids_are_ids() -> None:
    assert is_id(new_id())
    assert new_id() != new_id()


ID = "1f0e3dad-9990-4345-8743-9f8ffabdffc4"


@pytest.mark.parametrize("text", ["", "x", f"{ID}\n", ID.replace("-", ""), f"\u0661{ID[1:]}", f"{ID}0"])
def test_other_text_is_not(text: str) -> None:
    assert not is_id(text)
