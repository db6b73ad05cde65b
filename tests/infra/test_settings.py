from pathlib import Path

import pytest

from agentplat.infra.errors import ConfigError
from agentplat.infra.settings import Settings, get_settings


def test_defaults() -> None:
    settings = Settings.from_env({})
    assert settings.home == Path.home() / ".agentplat"
    assert (settings.host, settings.port) == ("127.0.0.1", 8006)
    assert settings.database_url is None
    assert settings.jwt_verify_key is None


def test_empty_values_are_unset() -> None:
    assert Settings.from_env({"DATABASE_URL": "", "AGENTPLAT_PORT": " "}) == Settings.from_env({})


def test_older_name_of_the_key_is_a_fallback() -> None:
    assert Settings.from_env({"SUPABASE_JWT_SECRET": "old"}).jwt_verify_key == "old"
    assert Settings.from_env({"SUPABASE_JWT_SECRET": "old", "JWT_VERIFY_KEY": " new "}).jwt_verify_key == "new"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["http://a", "http://b"]', ("http://a", "http://b")),
        ("http://a, http://b,", ("http://a", "http://b")),
        ("[]", ()),
        ("https://a.b/, regex:https://.*", ("https://a.b", "regex:https://.*")),
        ("http://localhost:5173", ("http://localhost:5173", "http://127.0.0.1:5173")),
        ("https://127.0.0.1:1,https://localhost:1", ("https://127.0.0.1:1", "https://localhost:1")),
        ("", ("http://localhost:3000", "http://127.0.0.1:3000")),
    ],
)
def test_lists_are_json_or_have_commas(text: str, expected: tuple[str, ...]) -> None:
    assert Settings.from_env({"BACKEND_CORS_ALLOW_ORIGINS": text}).backend_cors_allow_origins == expected


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("AGENTPLAT_PORT", "eighty", "a whole number from 1 to 65535"),
        ("AGENTPLAT_PORT", "70000", "a whole number from 1 to 65535"),
        ("AGENTPLAT_LEASE", "nan", "a number from 0.5 to 3600"),
        ("AGENTPLAT_DB_POOL", "1", "a whole number of at least 2"),
        ("ENABLE_AUTH", "maybe", "true or false"),
        ("JWT_SIGN_ALGORITHM", "none", "expected one of HS256"),
        ("LOG_FORMAT", "xml", "expected one of auto, json, console"),
        ("BACKEND_CORS_ALLOW_ORIGINS", '["http://a"', "BACKEND_CORS_ALLOW_ORIGINS"),
        ("BACKEND_CORS_ALLOW_ORIGINS", "[1]", "a list of strings"),
        ("BACKEND_CORS_ALLOW_ORIGINS", "*", "expected origins such as"),
        ("BACKEND_CORS_ALLOW_ORIGINS", "ftp://a.b", "expected origins such as"),
        ("BACKEND_CORS_ALLOW_ORIGINS", "https://a.b/path", "expected origins such as"),
        ("BACKEND_CORS_ALLOW_ORIGINS", "http://localhost", "needs its port"),
        ("BACKEND_CORS_ALLOW_ORIGINS", "regex: ", "a pattern is empty"),
        ("BACKEND_CORS_ALLOW_ORIGINS", "regex:(", "no regular expression"),
        ("APP_ENV", "production", "expected one of local, dev, prod"),
        ("AGENTPLAT_SECRET_KEYS", f"{'x' * 40},hunter2", "at least 32 characters"),
        ("AGENTPLAT_REFRESH_GRACE", "61", "a number from 0 to 60"),
        ("DATABASE_URL", "mysql://u:hunter2@host/db", "postgresql:// or postgres://"),
    ],
)
def test_bad_values_name_the_variable_and_the_reason(name: str, value: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        Settings.from_env({name: value})
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process without a key, whose home is a directory that does not exist yet."""
    home = tmp_path / "new" / "home"
    monkeypatch.delenv("JWT_VERIFY_KEY", raising=False)
    monkeypatch.setenv("AGENTPLAT_HOME", str(home))
    return home


def read_again() -> Settings:
    # Around the cache, which belongs to the other tests of this process.
    return get_settings.__wrapped__()


def test_a_key_of_its_own_is_made_once(fresh: Path) -> None:
    key = read_again().jwt_verify_key
    assert key is not None
    assert len(key) >= 32
    assert (fresh / "jwt.key").stat().st_mode & 0o777 == 0o600
    assert read_again().jwt_verify_key == key
    assert [path.name for path in fresh.iterdir()] == ["jwt.key"]


def test_no_key_and_nowhere_to_keep_one(fresh: Path) -> None:
    fresh.parent.parent.mkdir(exist_ok=True)
    fresh.parent.write_text("a file, not a directory")
    with pytest.raises(ConfigError, match="JWT_VERIFY_KEY is not set"):
        read_again()


def test_public_key_algorithms_need_a_key(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SIGN_ALGORITHM", "RS256")
    with pytest.raises(ConfigError, match="needs a public key"):
        read_again()


def test_a_key_pair_of_its_own_is_made_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SIGN_ALGORITHM", "ES256")
    settings = read_again()
    assert settings.jwt_verify_key is None
    assert settings.jwt_sign_key is not None
    assert settings.jwt_sign_key.startswith("-----BEGIN PRIVATE KEY-----")
    assert (fresh / "jwt.es256.pem").stat().st_mode & 0o777 == 0o600
    assert read_again() == settings


def test_keys_in_one_line() -> None:
    assert Settings.from_env({"JWT_SIGN_KEY": "a\\nb"}).jwt_sign_key == "a\nb"


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("https://app.example.com", True),
        (r"regex:https://.*\.example\.com", True),
        ("", True),
        ("http://localhost:3000", False),
        ("https://app.example.com,https://127.0.0.1:1", False),
        (r"regex:http://LOCALHOST:\d+", False),
        (r"regex:http://127\.0\.0\.1:1", False),
        ("regex:https?://.*", False),
    ],
)
def test_in_production_no_page_on_the_machine_itself_may_call(text: str, usable: bool) -> None:
    environ = {"APP_ENV": "prod", "BACKEND_CORS_ALLOW_ORIGINS": text}
    if usable:
        assert not any("local" in one for one in Settings.from_env(environ).backend_cors_allow_origins)
    else:
        with pytest.raises(ConfigError, match="BACKEND_CORS_ALLOW_ORIGINS"):
            Settings.from_env(environ)
