"""The language models that blocks can name, and what a call costs with the installation's own credentials."""

from typing import Any, NamedTuple

from agentplat.sdk import CostEntry


class LlmModel(NamedTuple):
    """`credits` is the price of one call in credits; 0 is free. `max_output` None means the provider does not tell."""

    name: str
    provider: str
    context_window: int
    max_output: int | None
    credits: int


DEFAULT_MODEL = "gpt-5.2-2025-12-11"
UNKNOWN_MAX_OUTPUT = 32_768
PROVIDERS = ("aiml_api", "anthropic", "groq", "ollama", "openai", "open_router", "llama_api", "v0")

# Prices hold for the installation's credentials only; whoever brings a key of their own pays the provider.
_SYSTEM_CREDENTIALS = {
    "aiml_api": "aad82a89-9794-4ebb-977f-d736aa5260a3",
    "anthropic": "24e5d942-d9e3-4798-8151-90143ee55629",
    "groq": "4ec22295-8f97-4dd1-b42b-2c6957a02545",
    "openai": "53c25cb8-e3ee-465c-a4d1-e75a4c899c2a",
    "open_router": "b5a0e27d-0c98-4df3-a4b9-10193e1f3c40",
    "llama_api": "d44045af-1c33-4833-9e19-752313214de2",
    "v0": "c4e6d1a0-3b5f-4789-a8e2-9b123456789f",
}

_TABLE = (
    LlmModel("o3-mini", "openai", 200_000, 100_000, 2),
    LlmModel("o3-2025-04-16", "openai", 200_000, 100_000, 4),
    LlmModel("o1", "openai", 200_000, 100_000, 16),
    LlmModel("o1-mini", "openai", 128_000, 65_536, 4),
    LlmModel("gpt-5.2-2025-12-11", "openai", 400_000, 128_000, 6),
    LlmModel("gpt-5.1-2025-11-13", "openai", 400_000, 128_000, 5),
    LlmModel("gpt-5-2025-08-07", "openai", 400_000, 128_000, 2),
    LlmModel("gpt-5-mini-2025-08-07", "openai", 400_000, 128_000, 1),
    LlmModel("gpt-5-nano-2025-08-07", "openai", 400_000, 128_000, 1),
    LlmModel("gpt-5-chat-latest", "openai", 400_000, 16_384, 5),
    LlmModel("gpt-4.1-2025-04-14", "openai", 1_047_576, 32_768, 2),
    LlmModel("gpt-4.1-mini-2025-04-14", "openai", 1_047_576, 32_768, 1),
    LlmModel("gpt-4o-mini", "openai", 128_000, 16_384, 1),
    LlmModel("gpt-4o", "openai", 128_000, 16_384, 3),
    LlmModel("gpt-4-turbo", "openai", 128_000, 4_096, 10),
    LlmModel("gpt-3.5-turbo", "openai", 16_385, 4_096, 1),
    LlmModel("claude-opus-4-1-20250805", "anthropic", 200_000, 32_000, 21),
    LlmModel("claude-opus-4-20250514", "anthropic", 200_000, 32_000, 21),
    LlmModel("claude-sonnet-4-20250514", "anthropic", 200_000, 64_000, 5),
    LlmModel("claude-opus-4-5-20251101", "anthropic", 200_000, 64_000, 14),
    LlmModel("claude-sonnet-4-5-20250929", "anthropic", 200_000, 64_000, 9),
    LlmModel("claude-haiku-4-5-20251001", "anthropic", 200_000, 64_000, 4),
    LlmModel("claude-3-7-sonnet-20250219", "anthropic", 200_000, 64_000, 5),
    LlmModel("claude-3-haiku-20240307", "anthropic", 200_000, 4_096, 1),
    LlmModel("Qwen/Qwen2.5-72B-Instruct-Turbo", "aiml_api", 32_000, 8_000, 1),
    LlmModel("nvidia/llama-3.1-nemotron-70b-instruct", "aiml_api", 128_000, 40_000, 1),
    LlmModel("meta-llama/Llama-3.3-70B-Instruct-Turbo", "aiml_api", 128_000, None, 1),
    LlmModel("meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo", "aiml_api", 131_000, 2_000, 1),
    LlmModel("meta-llama/Llama-3.2-3B-Instruct-Turbo", "aiml_api", 128_000, None, 1),
    LlmModel("llama-3.3-70b-versatile", "groq", 128_000, 32_768, 1),
    LlmModel("llama-3.1-8b-instant", "groq", 128_000, 8_192, 1),
    LlmModel("llama3.3", "ollama", 8_192, None, 0),
    LlmModel("llama3.2", "ollama", 8_192, None, 0),
    LlmModel("llama3", "ollama", 8_192, None, 0),
    LlmModel("llama3.1:405b", "ollama", 8_192, None, 0),
    LlmModel("dolphin-mistral:latest", "ollama", 32_768, None, 0),
    LlmModel("openai/gpt-oss-120b", "open_router", 131_072, 131_072, 1),
    LlmModel("openai/gpt-oss-20b", "open_router", 131_072, 32_768, 1),
    LlmModel("google/gemini-2.5-pro-preview-03-25", "open_router", 1_050_000, 8_192, 4),
    LlmModel("google/gemini-3-pro-preview", "open_router", 1_048_576, 65_535, 5),
    LlmModel("google/gemini-2.5-flash", "open_router", 1_048_576, 65_535, 1),
    LlmModel("google/gemini-2.0-flash-001", "open_router", 1_048_576, 8_192, 1),
    LlmModel("google/gemini-2.5-flash-lite-preview-06-17", "open_router", 1_048_576, 65_535, 1),
    LlmModel("google/gemini-2.0-flash-lite-001", "open_router", 1_048_576, 8_192, 1),
    LlmModel("mistralai/mistral-nemo", "open_router", 128_000, 4_096, 1),
    LlmModel("cohere/command-r-08-2024", "open_router", 128_000, 4_096, 1),
    LlmModel("cohere/command-r-plus-08-2024", "open_router", 128_000, 4_096, 3),
    LlmModel("deepseek/deepseek-chat", "open_router", 64_000, 2_048, 2),
    LlmModel("deepseek/deepseek-r1-0528", "open_router", 163_840, 163_840, 1),
    LlmModel("perplexity/sonar", "open_router", 127_000, 8_000, 1),
    LlmModel("perplexity/sonar-pro", "open_router", 200_000, 8_000, 5),
    LlmModel("perplexity/sonar-deep-research", "open_router", 128_000, 16_000, 10),
    LlmModel("nousresearch/hermes-3-llama-3.1-405b", "open_router", 131_000, 4_096, 1),
    LlmModel("nousresearch/hermes-3-llama-3.1-70b", "open_router", 12_288, 12_288, 1),
    LlmModel("amazon/nova-lite-v1", "open_router", 300_000, 5_120, 1),
    LlmModel("amazon/nova-micro-v1", "open_router", 128_000, 5_120, 1),
    LlmModel("amazon/nova-pro-v1", "open_router", 300_000, 5_120, 1),
    LlmModel("microsoft/wizardlm-2-8x22b", "open_router", 65_536, 4_096, 1),
    LlmModel("gryphe/mythomax-l2-13b", "open_router", 4_096, 4_096, 1),
    LlmModel("meta-llama/llama-4-scout", "open_router", 131_072, 131_072, 1),
    LlmModel("meta-llama/llama-4-maverick", "open_router", 1_048_576, 1_000_000, 1),
    LlmModel("x-ai/grok-4", "open_router", 256_000, 256_000, 9),
    LlmModel("x-ai/grok-4-fast", "open_router", 2_000_000, 30_000, 1),
    LlmModel("x-ai/grok-4.1-fast", "open_router", 2_000_000, 30_000, 1),
    LlmModel("x-ai/grok-code-fast-1", "open_router", 256_000, 10_000, 1),
    LlmModel("moonshotai/kimi-k2", "open_router", 131_000, 131_000, 1),
    LlmModel("qwen/qwen3-235b-a22b-thinking-2507", "open_router", 262_144, 262_144, 1),
    LlmModel("qwen/qwen3-coder", "open_router", 262_144, 262_144, 9),
    LlmModel("Llama-4-Scout-17B-16E-Instruct-FP8", "llama_api", 128_000, 4_028, 1),
    LlmModel("Llama-4-Maverick-17B-128E-Instruct-FP8", "llama_api", 128_000, 4_028, 1),
    LlmModel("Llama-3.3-8B-Instruct", "llama_api", 128_000, 4_028, 1),
    LlmModel("Llama-3.3-70B-Instruct", "llama_api", 128_000, 4_028, 1),
    LlmModel("v0-1.5-md", "v0", 128_000, 64_000, 1),
    LlmModel("v0-1.5-lg", "v0", 512_000, 64_000, 2),
    LlmModel("v0-1.0-md", "v0", 128_000, 64_000, 1),
)

MODELS = {model.name: model for model in _TABLE}
MODEL_PROVIDERS = {model.name: model.provider for model in _TABLE}


def _filter(model: LlmModel) -> dict[str, Any]:
    credentials = {"id": _SYSTEM_CREDENTIALS[model.provider]}
    # The AutoGPT Platform contract asks for nothing else at this provider.
    if model.provider != "groq":
        credentials |= {"provider": model.provider, "type": "api_key"}
    return {"model": model.name, "credentials": credentials}


LLM_COSTS = tuple(CostEntry(cost_amount=model.credits, cost_filter=_filter(model)) for model in _TABLE if model.credits)
