"""Which providers there are, and the installation's own credentials for them, which are never stored."""

from collections.abc import Mapping
from functools import cache

from msgspec import Struct

from agentplat.blocks import service as blocks
from agentplat.infra.settings import Settings
from agentplat.integrations.models import ApiKeyEntry, Entry, PasswordEntry, ProviderInfo

STATIC = frozenset(
    {
        *("aiml_api", "anthropic", "apollo", "compass", "discord", "d_id", "e2b", "fal", "github", "google"),
        *("google_maps", "groq", "http", "hubspot", "enrichlayer", "ideogram", "jina", "llama_api", "medium", "mem0"),
        *("notion", "nvidia", "ollama", "openai", "openweathermap", "open_router", "pinecone", "reddit", "replicate"),
        *("revid", "screenshotone", "slant3d", "smartlead", "smtp", "twitter", "todoist", "unreal_speech", "v0"),
        *("webshare_proxy", "zerobounce"),
    }
)
# Kinds beside the API key, which every provider of the contract is taken to have.
_ONLY = {"smtp": "user_password", "http": "host_scoped"}
# Servers that only speak OpenAI's language rarely want a key, but its client insists on one. Ollama's never does.
_NO_KEY = "unused"


class System(Struct, frozen=True):
    """Credentials that an installation may have. `variables` are the settings with the key, or with name and password;
    the ids are the AutoGPT Platform contract's: agents and prices refer to them."""

    id: str
    name: str
    variables: tuple[str, ...]


SYSTEM: Mapping[str, System] = {
    "ollama": System("744fdc56-071a-4761-b5a5-0af0ce10a2b5", "Ollama", ()),
    "openai": System("53c25cb8-e3ee-465c-a4d1-e75a4c899c2a", "OpenAI", ()),
    "revid": System("fdb7f412-f519-48d1-9b5f-d2f73d0e01fe", "Revid", ("REVID_API_KEY",)),
    "ideogram": System("760f84fc-b270-42de-91f6-08efe1b512d0", "Ideogram", ("IDEOGRAM_API_KEY",)),
    "replicate": System("6b9fc200-4726-4973-86c9-cd526f5ce5db", "Replicate", ("REPLICATE_API_KEY",)),
    "aiml_api": System("aad82a89-9794-4ebb-977f-d736aa5260a3", "AI/ML API", ("AIML_API_KEY",)),
    "anthropic": System("24e5d942-d9e3-4798-8151-90143ee55629", "Anthropic", ("ANTHROPIC_API_KEY",)),
    "groq": System("4ec22295-8f97-4dd1-b42b-2c6957a02545", "Groq", ("GROQ_API_KEY",)),
    "d_id": System("7f7b0654-c36b-4565-8fa7-9a52575dfae2", "D-ID", ("DID_API_KEY",)),
    "jina": System("7f26de70-ba0d-494e-ba76-238e65e7b45f", "Jina", ("JINA_API_KEY",)),
    "unreal_speech": System("66f20754-1b81-48e4-91d0-f4f0dd82145f", "Unreal Speech", ("UNREAL_SPEECH_API_KEY",)),
    "open_router": System("b5a0e27d-0c98-4df3-a4b9-10193e1f3c40", "Open Router", ("OPEN_ROUTER_API_KEY",)),
    "enrichlayer": System("d9fce73a-6c1d-4e8b-ba2e-12a456789def", "Enrichlayer", ("ENRICHLAYER_API_KEY",)),
    "fal": System("6c0f5bd0-9008-4638-9d79-4b40b631803e", "FAL", ("FAL_API_KEY",)),
    "exa": System("96153e04-9c6c-4486-895f-5bb683b1ecec", "Exa", ("EXA_API_KEY",)),
    "e2b": System("78d19fd7-4d59-4a16-8277-3ce310acf2b7", "E2B", ("E2B_API_KEY",)),
    "mem0": System("ed55ac19-356e-4243-a6cb-bc599e9b716f", "Mem0", ("MEM0_API_KEY",)),
    "nvidia": System("96b83908-2789-4dec-9968-18f0ece4ceb3", "Nvidia", ("NVIDIA_API_KEY",)),
    "screenshotone": System("3b1bdd16-8818-4bc2-8cbb-b23f9a3439ed", "ScreenshotOne", ("SCREENSHOTONE_API_KEY",)),
    "apollo": System("544c62b5-1d0f-4156-8fb4-9525f11656eb", "Apollo", ("APOLLO_API_KEY",)),
    "smartlead": System("3bcdbda3-84a3-46af-8fdb-bfd2472298b8", "SmartLead", ("SMARTLEAD_API_KEY",)),
    "zerobounce": System("63a6e279-2dc2-448e-bf57-85776f7176dc", "ZeroBounce", ("ZEROBOUNCE_API_KEY",)),
    "google_maps": System("9aa1bde0-4947-4a70-a20c-84daa3850d52", "Google Maps", ("GOOGLE_MAPS_API_KEY",)),
    "llama_api": System("d44045af-1c33-4833-9e19-752313214de2", "Llama API", ("LLAMA_API_KEY",)),
    "v0": System("c4e6d1a0-3b5f-4789-a8e2-9b123456789f", "v0", ("V0_API_KEY",)),
    "webshare_proxy": System(
        "a5b3c7d9-2e4f-4a6b-8c1d-9e0f1a2b3c4d",
        "Webshare Proxy",
        ("WEBSHARE_PROXY_USERNAME", "WEBSHARE_PROXY_PASSWORD"),
    ),
    "openweathermap": System("8b3d4e5f-6a7b-8c9d-0e1f-2a3b4c5d6e7f", "OpenWeatherMap", ("OPENWEATHERMAP_API_KEY",)),
}
RESERVED = frozenset(one.id for one in SYSTEM.values())


@cache
def system_credentials(settings: Settings) -> Mapping[str, Entry]:
    """What this installation has, by id. Every user may use them, and nobody may see them."""
    given = dict(settings.provider_keys)
    found: dict[str, Entry] = {}
    for provider, one in SYSTEM.items():
        secrets = [given[name] for name in one.variables if name in given]
        if provider == "openai" and (settings.openai_api_key or settings.openai_base_url):
            secrets = [settings.openai_api_key or _NO_KEY]
        elif provider == "ollama":
            secrets = [_NO_KEY]
        title = f"Use Credits for {one.name}"
        if len(secrets) == 2:
            username, password = secrets
            found[one.id] = PasswordEntry(
                id=one.id, provider=provider, title=title, username=username, password=password
            )
        elif secrets and len(one.variables) < 2:
            found[one.id] = ApiKeyEntry(id=one.id, provider=provider, title=title, api_key=secrets[0])
    return found


@cache
def all_() -> Mapping[str, ProviderInfo]:
    """The contract's providers and those that blocks name, in order."""
    kinds: dict[str, set[str]] = {name: {"api_key", _ONLY.get(name, "api_key")} for name in STATIC | set(SYSTEM)}
    for spec in blocks.specs().values():
        for field in spec.credentials.values():
            for name in field.providers - STATIC - set(SYSTEM):
                kinds.setdefault(name, set()).update(field.types)
    return {
        name: ProviderInfo(
            name=name,
            supports_api_key="api_key" in kinds[name],
            supports_user_password="user_password" in kinds[name],
            supports_host_scoped="host_scoped" in kinds[name],
        )
        for name in sorted(kinds)
    }
