from pathlib import Path

import pytest

from agentplat.infra import crypto
from agentplat.infra.crypto import DecryptionFailed, Keyring
from agentplat.infra.settings import Settings

OLD, NEW, OTHER = "o" * 40, "n" * 40, "x" * 40
OWNER = "one_time_tokens ann"


def test_what_was_sealed_opens_for_its_owner_only() -> None:
    ring = Keyring([OLD])
    sealed = ring.seal(b"secret", OWNER)
    assert b"secret" not in sealed
    assert sealed != ring.seal(b"secret", OWNER)
    assert ring.open(sealed, OWNER) == b"secret"
    assert ring.open(ring.seal(b"", OWNER), OWNER) == b""
    with pytest.raises(DecryptionFailed, match="belongs elsewhere"):
        ring.open(sealed, "one_time_tokens bob")


def test_whatever_was_changed_is_noticed() -> None:
    ring = Keyring([OLD])
    sealed = ring.seal(b"secret", OWNER)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(DecryptionFailed):
            ring.open(bytes(changed), OWNER)
        with pytest.raises(DecryptionFailed):
            ring.open(sealed[:position], OWNER)


def test_keys_take_turns() -> None:
    sealed = Keyring([OLD]).seal(b"secret", OWNER)
    both = Keyring([NEW, OLD])
    assert both.open(sealed, OWNER) == b"secret"
    again = both.seal(b"secret", OWNER)
    assert sealed[1:5] != both.current == again[1:5]
    assert Keyring([NEW]).open(again, OWNER) == b"secret"
    with pytest.raises(DecryptionFailed, match="No key in AGENTPLAT_SECRET_KEYS"):
        Keyring([NEW, OTHER]).open(sealed, OWNER)


def test_errors_say_nothing_of_the_secret() -> None:
    sealed = Keyring([OLD]).seal(b"hunter2", OWNER)
    with pytest.raises(DecryptionFailed) as caught:
        Keyring([NEW]).open(sealed, OWNER)
    assert "hunter2" not in str(caught.value)
    assert OLD not in str(caught.value)


def test_keyed_hashes() -> None:
    old, both = Keyring([OLD]), Keyring([NEW, OLD])
    assert both.macs("a", b"key")[1] == old.mac("a", b"key")
    assert both.mac("a", b"key")[:4] == both.current
    assert len({*both.macs("a", b"key"), *both.macs("b", b"key"), *both.macs("a", b"yek")}) == 6
    assert both.is_mac("a", b"key", old.mac("a", b"key"))
    assert not both.is_mac("b", b"key", old.mac("a", b"key"))
    assert not old.is_mac("a", b"key", both.mac("a", b"key"))


def test_a_key_of_its_own_is_made_once_and_replaced_by_a_newer(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "new")
    assert crypto.add_key(settings) is None
    path = tmp_path / "new" / crypto.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    newer, older = path.read_text().split()
    assert crypto.add_key(settings) is None
    assert path.read_text().split()[1:] == [newer, older]
    assert [found.name for found in path.parent.iterdir()] == [crypto.FILE]


def test_configured_keys_are_not_ours_to_change(tmp_path: Path) -> None:
    new = crypto.add_key(Settings(home=tmp_path, secret_keys=(OLD,)))
    assert new is not None
    assert len(new) >= 32
    assert list(tmp_path.iterdir()) == []
