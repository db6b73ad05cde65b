"""Settings come from environment variables, are read once, and name the variable when a value makes no sense."""

import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from agentplat.infra import keys, origins
from agentplat.infra.errors import ConfigError

# Read by PyJWT; "none" is not among them on purpose.
SIGN_ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES256K", "ES384", "ES512", "ES521", "EdDSA"),
)
Network = IPv4Network | IPv6Network
DEFAULT_HOME = Path("~/.agentplat")
# Ten years: dates can't be had for just any number of seconds.
MAX_DEADLINE_SECONDS = 315_360_000
SHORTEST_SECRET = 32
MISSED_RUNS = ("skip", "one", "all")
APP_ENVS = ("local", "dev", "prod")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("auto", "json", "console")
# The installation's own keys for providers, by the names that the contract's own configuration has.
PROVIDER_KEYS = (
    *("REVID_API_KEY", "IDEOGRAM_API_KEY", "REPLICATE_API_KEY", "AIML_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY"),
    *("DID_API_KEY", "JINA_API_KEY", "UNREAL_SPEECH_API_KEY", "OPEN_ROUTER_API_KEY", "ENRICHLAYER_API_KEY"),
    *("FAL_API_KEY", "EXA_API_KEY", "E2B_API_KEY", "MEM0_API_KEY", "NVIDIA_API_KEY", "SCREENSHOTONE_API_KEY"),
    *("APOLLO_API_KEY", "SMARTLEAD_API_KEY", "ZEROBOUNCE_API_KEY", "GOOGLE_MAPS_API_KEY", "LLAMA_API_KEY"),
    *("V0_API_KEY", "WEBSHARE_PROXY_USERNAME", "WEBSHARE_PROXY_PASSWORD", "OPENWEATHERMAP_API_KEY"),
)


class Settings(Struct, frozen=True, kw_only=True):
    """One of `jwt_verify_key` and `jwt_sign_key` is set at the latest when `get_settings` has looked."""

    database_url: str | None = None
    redis_url: str | None = None
    redis_prefix: str = "agentplat"
    home: Path = DEFAULT_HOME
    host: str = "127.0.0.1"
    port: int = 8006
    jwt_verify_key: str | None = None
    jwt_sign_key: str | None = None
    jwt_previous_keys: tuple[str, ...] = ()
    jwt_leeway_seconds: float = 0.0
    jwt_sign_algorithm: str = "HS256"
    jwt_audience: str = "authenticated"
    jwt_issuer: str | None = None
    secret_keys: tuple[str, ...] = ()
    enable_sign_up: bool = True
    refresh_grace_seconds: float = 10.0
    app_env: str = "local"
    enable_auth: bool = True
    enable_credit: bool = False
    monthly_credits: int = 0
    stripe_api_key: str | None = None
    stripe_webhook_secret: str | None = None
    stripe_base_url: str | None = None
    frontend_base_url: str = "http://localhost:3000"
    unsubscribe_secret: str | None = None
    postmark_webhook_token: str | None = None
    backend_cors_allow_origins: tuple[str, ...] = ()
    openai_api_key: str | None = None
    openai_base_url: str | None = None
    provider_keys: tuple[tuple[str, str], ...] = ()
    block_modules: tuple[str, ...] = ()
    max_request_bytes: int = 8 * 1024 * 1024
    files_url: str | None = None
    upload_limit_mb: int = 256
    upload_quota_mb: int = 10_240
    upload_types: tuple[str, ...] = ()
    clamav_host: str | None = None
    clamav_port: int = 3310
    clamav_timeout_seconds: float = 60.0
    request_seconds: float = 30.0
    rate_limit: int = 30_000
    rate_limit_per_key: int = 12_000
    rate_limit_sign_in: int = 300
    trusted_proxies: tuple[Network, ...] = ()
    run_deadline_seconds: int = 86_400
    max_node_executions: int = 100_000
    lease_seconds: float = 10.0
    journal_window_ms: float = 2.0
    max_runs_per_graph: int = 25
    max_queued_per_user: int = 10_000
    worker_concurrency: int = 200
    node_processes: int = 2
    node_memory_mb: int = 512
    node_timeout_seconds: float = 300.0
    max_schedules_per_user: int = 500
    schedule_min_interval_seconds: int = 60
    schedule_missed_runs: str = "one"
    schedule_missed_window_seconds: int = 86_400
    db_pool_size: int = 10
    retention_days: int = 30
    server_processes: int = 1
    enable_metrics: bool = False
    worker_metrics_port: int | None = None
    scheduler_metrics_port: int | None = None
    log_level: str = "INFO"
    log_format: str = "auto"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        values: dict[str, Any] = {}
        for field, names, parse in _VARIABLES:
            for name in names:
                # An empty value is how compose files and shells say "not set".
                if text := environ.get(name, "").strip():
                    try:
                        values[field] = parse(text)
                    except ValueError as error:
                        raise ConfigError(f"{name}={_shown(name, text)} is not usable: {error}") from error
                    break
        values["provider_keys"] = tuple(
            (name, text) for name in PROVIDER_KEYS if (text := environ.get(name, "").strip())
        )
        _settle_origins(values)
        try:
            values["home"] = values.get("home", DEFAULT_HOME).expanduser().absolute()
        except RuntimeError as error:
            raise ConfigError("AGENTPLAT_HOME is not set and this account has no home directory") from error
        return cls(**values)


@cache
def get_settings() -> Settings:
    """The settings of this process, with a key for tokens made on first use when none is configured.

    For ES256 that is a key pair in `jwt_sign_key`; what tokens are checked with follows from it.
    """
    settings = Settings.from_env()
    if settings.jwt_verify_key is None and settings.jwt_sign_key is None:
        if settings.jwt_sign_algorithm.startswith("HS"):
            key = keys.kept(settings.home / "jwt.key", keys.new_secret, "JWT_VERIFY_KEY")
            return msgspec.structs.replace(settings, jwt_verify_key=key)
        if settings.jwt_sign_algorithm != "ES256":
            raise ConfigError(f"JWT_SIGN_ALGORITHM={settings.jwt_sign_algorithm} needs a public key in JWT_VERIFY_KEY")
        pair = keys.kept(settings.home / "jwt.es256.pem", keys.new_private_key, "JWT_SIGN_KEY")
        return msgspec.structs.replace(settings, jwt_sign_key=pair)
    return settings


def _settle_origins(values: dict[str, Any]) -> None:
    """Who develops a web interface beside the platform need not say so. In production nobody does."""
    public = values.get("app_env") == "prod"
    given = values.setdefault("backend_cors_allow_origins", () if public else origins.DEFAULT)
    if public:
        try:
            origins.check_public(given)
        except ValueError as error:
            raise ConfigError(f"BACKEND_CORS_ALLOW_ORIGINS is not usable: {error}") from error


def _shown(name: str, text: str) -> str:
    return "(hidden)" if "KEY" in name or "SECRET" in name or "://" in text else repr(text)


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("expected true or false")


def _number(kind: type[int] | type[float], low: float, high: float | None = None) -> Callable[[str], float]:
    noun = "a whole number" if kind is int else "a number"
    limits = f"of at least {low:g}" if high is None else f"from {low:g} to {high:g}"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"expected {noun} {limits}") from None
        # Written this way round so that NaN fails too.
        if not (value >= low and (high is None or value <= high)):
            raise ValueError(f"expected {noun} {limits}")
        return value

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    by_folded = {choice.lower(): choice for choice in choices}

    def parse(text: str) -> str:
        try:
            return by_folded[text.lower()]
        except KeyError:
            raise ValueError(f"expected one of {', '.join(choices)}") from None

    return parse


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        scheme, separator, _ = text.partition("://")
        if not separator or scheme not in schemes:
            raise ValueError(f"expected a URL that starts with {' or '.join(f'{s}://' for s in schemes)}")
        return text

    return parse


def _list(text: str) -> tuple[str, ...]:
    """A JSON list, as the contract's own configuration writes it, or simply items with commas between."""
    items: Any = text.split(",")
    if text.startswith("["):
        items = json.loads(text)
        if not all(isinstance(item, str) for item in items):
            raise ValueError("expected a list of strings")
    return tuple(item.strip() for item in items if item.strip())


def _origins(text: str) -> tuple[str, ...]:
    return origins.origins(_list(text))


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(item, strict=False) for item in _list(text))


def _secrets(text: str) -> tuple[str, ...]:
    found = _list(text)
    if any(len(secret) < SHORTEST_SECRET for secret in found):
        raise ValueError(f"each needs at least {SHORTEST_SECRET} characters")
    return found


def _pem(text: str) -> str:
    """Files of variables often can't hold several lines, so `\\n` stands for their ends."""
    return text.replace("\\n", "\n")


def _pems(text: str) -> tuple[str, ...]:
    return tuple(map(_pem, _list(text)))


_VARIABLES: tuple[tuple[str, tuple[str, ...], Callable[[str], Any]], ...] = (
    ("database_url", ("DATABASE_URL",), _url("postgresql", "postgres")),
    ("redis_url", ("REDIS_URL",), _url("redis", "rediss", "unix")),
    ("redis_prefix", ("AGENTPLAT_REDIS_PREFIX",), str),
    ("home", ("AGENTPLAT_HOME",), Path),
    ("host", ("AGENTPLAT_HOST",), str),
    ("port", ("AGENTPLAT_PORT",), _number(int, 1, 65_535)),
    ("jwt_verify_key", ("JWT_VERIFY_KEY", "SUPABASE_JWT_SECRET"), str),
    ("jwt_sign_key", ("JWT_SIGN_KEY",), _pem),
    ("jwt_previous_keys", ("JWT_PREVIOUS_KEYS",), _pems),
    ("jwt_leeway_seconds", ("JWT_LEEWAY",), _number(float, 0, 300)),
    ("jwt_sign_algorithm", ("JWT_SIGN_ALGORITHM",), _one_of(*SIGN_ALGORITHMS)),
    ("jwt_issuer", ("JWT_ISSUER",), str),
    ("secret_keys", ("AGENTPLAT_SECRET_KEYS",), _secrets),
    ("enable_sign_up", ("AGENTPLAT_SIGN_UP",), _boolean),
    ("refresh_grace_seconds", ("AGENTPLAT_REFRESH_GRACE",), _number(float, 0, 60)),
    ("app_env", ("APP_ENV",), _one_of(*APP_ENVS)),
    ("enable_auth", ("ENABLE_AUTH",), _boolean),
    ("enable_credit", ("ENABLE_CREDIT",), _boolean),
    ("monthly_credits", ("NUM_USER_CREDITS_REFILL",), _number(int, 0, 2**31 - 1)),
    ("stripe_api_key", ("STRIPE_API_KEY",), str),
    ("stripe_webhook_secret", ("STRIPE_WEBHOOK_SECRET",), str),
    ("stripe_base_url", ("STRIPE_BASE_URL",), _url("http", "https")),
    ("frontend_base_url", ("FRONTEND_BASE_URL",), _url("http", "https")),
    ("unsubscribe_secret", ("UNSUBSCRIBE_SECRET_KEY",), str),
    ("postmark_webhook_token", ("POSTMARK_WEBHOOK_TOKEN",), str),
    ("backend_cors_allow_origins", ("BACKEND_CORS_ALLOW_ORIGINS",), _origins),
    ("openai_api_key", ("OPENAI_API_KEY",), str),
    ("openai_base_url", ("OPENAI_BASE_URL",), _url("http", "https")),
    ("block_modules", ("AGENTPLAT_BLOCK_MODULES",), _list),
    ("max_request_bytes", ("AGENTPLAT_MAX_REQUEST_BYTES",), _number(int, 1024)),
    ("files_url", ("AGENTPLAT_FILES_URL",), _url("file", "s3", "gs", "az")),
    ("upload_limit_mb", ("UPLOAD_FILE_SIZE_LIMIT_MB",), _number(int, 1, 1024)),
    ("upload_quota_mb", ("AGENTPLAT_UPLOAD_QUOTA_MB",), _number(int, 0, 2**40)),
    ("upload_types", ("AGENTPLAT_UPLOAD_TYPES",), _list),
    ("clamav_host", ("CLAMAV_SERVICE_HOST",), str),
    ("clamav_port", ("CLAMAV_SERVICE_PORT",), _number(int, 1, 65_535)),
    ("clamav_timeout_seconds", ("CLAMAV_SERVICE_TIMEOUT",), _number(float, 0.1, 3600)),
    ("request_seconds", ("AGENTPLAT_REQUEST_SECONDS",), _number(float, 0.1, 3600)),
    ("rate_limit", ("AGENTPLAT_RATE_LIMIT",), _number(int, 0)),
    ("rate_limit_per_key", ("AGENTPLAT_RATE_LIMIT_PER_KEY",), _number(int, 0)),
    ("rate_limit_sign_in", ("AGENTPLAT_RATE_LIMIT_SIGN_IN",), _number(int, 0)),
    ("trusted_proxies", ("AGENTPLAT_TRUSTED_PROXIES",), _networks),
    ("run_deadline_seconds", ("AGENTPLAT_RUN_DEADLINE",), _number(int, 1, MAX_DEADLINE_SECONDS)),
    ("max_node_executions", ("AGENTPLAT_MAX_NODE_EXECUTIONS",), _number(int, 1)),
    ("lease_seconds", ("AGENTPLAT_LEASE",), _number(float, 0.5, 3600)),
    ("journal_window_ms", ("AGENTPLAT_JOURNAL_WINDOW_MS",), _number(float, 0, 1000)),
    ("max_runs_per_graph", ("AGENTPLAT_MAX_RUNS_PER_GRAPH",), _number(int, 1, 10_000)),
    ("max_queued_per_user", ("AGENTPLAT_MAX_QUEUED_PER_USER",), _number(int, 1, 10_000_000)),
    ("worker_concurrency", ("AGENTPLAT_WORKER_CONCURRENCY",), _number(int, 1)),
    ("node_processes", ("AGENTPLAT_NODE_PROCESSES",), _number(int, 1, 256)),
    ("node_memory_mb", ("AGENTPLAT_NODE_MEMORY",), _number(int, 16, 1_000_000)),
    ("node_timeout_seconds", ("AGENTPLAT_NODE_TIMEOUT",), _number(float, 0.1, 86_400)),
    ("max_schedules_per_user", ("AGENTPLAT_MAX_SCHEDULES_PER_USER",), _number(int, 0, 100_000)),
    ("schedule_min_interval_seconds", ("AGENTPLAT_SCHEDULE_MIN_INTERVAL",), _number(int, 60, 31_536_000)),
    ("schedule_missed_runs", ("AGENTPLAT_SCHEDULE_MISSED_RUNS",), _one_of(*MISSED_RUNS)),
    ("schedule_missed_window_seconds", ("AGENTPLAT_SCHEDULE_MISSED_WINDOW",), _number(int, 0, 604_800)),
    ("db_pool_size", ("AGENTPLAT_DB_POOL",), _number(int, 2)),
    ("retention_days", ("AGENTPLAT_RETENTION_DAYS",), _number(int, 1, 36_500)),
    ("server_processes", ("AGENTPLAT_SERVER_PROCESSES",), _number(int, 1)),
    ("enable_metrics", ("ENABLE_METRICS",), _boolean),
    ("worker_metrics_port", ("AGENTPLAT_WORKER_METRICS_PORT",), _number(int, 1, 65_535)),
    ("scheduler_metrics_port", ("AGENTPLAT_SCHEDULER_METRICS_PORT",), _number(int, 1, 65_535)),
    ("log_level", ("LOG_LEVEL",), _one_of(*LOG_LEVELS)),
    ("log_format", ("LOG_FORMAT",), _one_of(*LOG_FORMATS)),
)
