"""Names people use today, and which measured model stands for each.

The assumption behind an assumed alias is one of family and size: a model that was
not in the data answers about as well as its nearest measured relative, or, where it
is newer and said to be better, at least as well as the strongest relative of its
price class. It is a place to start from: ``sidecar fit`` replaces it with a
measurement. ``exact`` aliases are other spellings of the same weights.
"""

from __future__ import annotations

EXACT = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4-turbo": "gpt-4-turbo-2024-04-09",
    "gpt-4-turbo-preview": "gpt-4-1106-preview",
    "gpt-4": "gpt-4-0613",
    "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
    "o1-mini": "o1-mini-2024-09-12",
    "claude-3-5-sonnet": "claude-3-5-sonnet-20241022",
    "claude-3.5-sonnet": "claude-3-5-sonnet-20241022",
    "claude-3-5-haiku": "claude-3-5-haiku-20241022",
    "claude-3.5-haiku": "claude-3-5-haiku-20241022",
    "claude-3-opus": "claude-3-opus-20240229",
    "claude-3-sonnet": "claude-3-sonnet-20240229",
    "claude-3-haiku": "claude-3-haiku-20240307",
    "gemini-1.5-pro-latest": "gemini-1.5-pro-002",
    "gemini-1.5-flash-latest": "gemini-1.5-flash-002",
    "mixtral-8x7b": "mixtral-8x7b-instruct",
    "mixtral-8x7b-instruct-v0.1": "mixtral-8x7b-instruct",
    "open-mixtral-8x7b": "mixtral-8x7b-instruct",
    "mistral-7b": "mistral-7b-instruct-v0.3",
    "mistral-7b-instruct": "mistral-7b-instruct-v0.3",
    "open-mistral-7b": "mistral-7b-instruct-v0.3",
    "mistral-nemo": "mistral-nemo-instruct-2407",
    "open-mistral-nemo": "mistral-nemo-instruct-2407",
    "mistral-large": "mistral-large-2407",
    "mistral-large-2": "mistral-large-2407",
    "mistral-large-instruct-2407": "mistral-large-2407",
    "llama-3.1-8b": "llama-3.1-8b-instruct",
    "llama3.1": "llama-3.1-8b-instruct",
    "llama3.1:8b": "llama-3.1-8b-instruct",
    "llama3.1:70b": "llama-3.1-70b-instruct",
    "llama-3.1-8b-instant": "llama-3.1-8b-instruct",
    "llama3:8b": "llama-3-8b-instruct",
    "llama3": "llama-3-8b-instruct",
    "llama3:70b": "llama-3-70b-instruct",
    "qwen2.5:7b": "qwen2.5-7b-instruct",
    "qwen2.5:72b": "qwen2.5-72b-instruct",
    "gemma2": "gemma-2-9b-it",
    "gemma2:9b": "gemma-2-9b-it",
    "gemma2:27b": "gemma-2-27b-it",
    "gemma2:2b": "gemma-2-2b-it",
    "phi3.5": "phi-3.5-mini-instruct",
    "phi3": "phi-3-mini-4k-instruct",
    "command-r-v01": "command-r",
    "deepseek-v2.5": "deepseek-v2.5-0908",
}

ASSUMED = {
    "mixtral-8x22b": ("mixtral-8x22b-base", "measured without instruction tuning"),
    "open-mixtral-8x22b": ("mixtral-8x22b-base", "measured without instruction tuning"),
    "mixtral-8x22b-instruct-v0.1": ("mixtral-8x22b-base", "measured without instruction tuning"),
    "llama-2-7b-chat": ("llama-2-7b-base", "measured without instruction tuning"),
    "llama-2-13b-chat": ("llama-2-13b-base", "measured without instruction tuning"),
    "llama-2-70b-chat": ("llama-2-70b-base", "measured without instruction tuning"),
    "gemma-7b-it": ("gemma-7b-base", "measured without instruction tuning"),
    "yi-34b-chat": ("yi-34b-base", "measured without instruction tuning"),
    "llama-3.1-70b": ("llama-3.1-70b-instruct", "the chat model is meant"),
    "llama-3-70b": ("llama-3-70b-instruct", "the chat model is meant"),
    "llama-3-8b": ("llama-3-8b-instruct", "the chat model is meant"),
    "gpt-4.1": ("o1-mini-2024-09-12", "newer flagship of its maker"),
    "gpt-4.1-mini": ("gpt-4o-2024-08-06", "its maker places it near gpt-4o"),
    "gpt-4.1-nano": ("gpt-4o-mini-2024-07-18", "the same price class"),
    "gpt-5": ("o1-mini-2024-09-12", "the strongest measured relative"),
    "gpt-5-mini": ("o1-mini-2024-09-12", "a reasoning model of the small class"),
    "gpt-5-nano": ("gpt-4o-mini-2024-07-18", "the same price class"),
    "o1": ("o1-mini-2024-09-12", "the measured relative"),
    "o3": ("o1-mini-2024-09-12", "the strongest measured relative"),
    "o3-mini": ("o1-mini-2024-09-12", "the same family and size"),
    "o4-mini": ("o1-mini-2024-09-12", "the same family and size"),
    "claude-3-7-sonnet": ("claude-3-5-sonnet-20241022", "the same family and size"),
    "claude-sonnet-4": ("claude-3-5-sonnet-20241022", "the same family and size"),
    "claude-sonnet-4-5": ("claude-3-5-sonnet-20241022", "the same family and size"),
    "claude-opus-4": ("claude-3-5-sonnet-20241022", "the strongest measured relative"),
    "claude-opus-4-1": ("claude-3-5-sonnet-20241022", "the strongest measured relative"),
    "claude-haiku-4-5": ("claude-3-5-haiku-20241022", "the same family and size"),
    "gemini-2.0-flash": ("gemini-1.5-flash-002", "the same family and size"),
    "gemini-2.0-flash-lite": ("gemini-1.5-flash-002", "the same family, smaller"),
    "gemini-2.5-flash": ("gemini-1.5-pro-002", "newer, said to pass the older pro"),
    "gemini-2.5-flash-lite": ("gemini-1.5-flash-002", "the same family and size"),
    "gemini-2.5-pro": ("gemini-1.5-pro-002", "the strongest measured relative"),
    "llama-3.2-1b-instruct": ("gemma-2-2b-it", "the nearest size"),
    "llama-3.2-3b-instruct": ("phi-3-mini-4k-instruct", "the nearest size"),
    "llama-3.3-70b-instruct": ("llama-3.1-70b-instruct", "the same family and size"),
    "llama-3.3-70b-versatile": ("llama-3.1-70b-instruct", "the same family and size"),
    "llama-4-scout-17b-16e-instruct": ("llama-3.1-70b-instruct", "said to be near it"),
    "llama-4-maverick-17b-128e-instruct": ("llama-3.1-405b-instruct", "said to be near it"),
    "qwen3-8b": ("qwen2.5-7b-instruct", "the same family and size"),
    "qwen3-32b": ("qwen2.5-72b-instruct", "a newer half-size relative"),
    "qwen2.5-14b-instruct": ("gemma-2-27b-it", "the nearest ability class"),
    "qwen2.5-32b-instruct": ("qwen2.5-72b-instruct", "the same family, half the size"),
    "qwen3-235b-a22b": ("qwen2.5-72b-instruct", "the strongest measured relative"),
    "deepseek-v3": ("claude-3-5-sonnet-20241022", "said to be near it"),
    "deepseek-r1": ("o1-mini-2024-09-12", "a reasoning model"),
    "deepseek-reasoner": ("o1-mini-2024-09-12", "a reasoning model"),
    "mistral-small": ("mistral-nemo-instruct-2407", "the nearest measured relative"),
    "mistral-medium": ("mistral-large-2407", "the nearest measured relative"),
    "gemma-3-4b-it": ("gemma-2-9b-it", "newer, half the size"),
    "gemma-3-12b-it": ("gemma-2-27b-it", "newer, half the size"),
    "gemma-3-27b-it": ("gemma-2-27b-it", "the same family and size"),
    "phi-4": ("qwen2.5-72b-instruct", "said to be near it on exams"),
    "phi-4-mini-instruct": ("phi-3.5-mini-instruct", "the same family and size"),
    "gpt-oss-20b": ("gpt-4o-mini-2024-07-18", "the same price class"),
    "gpt-oss-120b": ("gpt-4o-2024-08-06", "near the larger hosted models"),
}


def aliases(known: list[str]) -> dict[str, dict[str, str]]:
    """The aliases whose target is in the catalogue, each with why."""
    out = {}
    for name, target in EXACT.items():
        if target in known and name not in known:
            out[name] = {"model": target, "why": "exact: another spelling"}
    for name, (target, why) in ASSUMED.items():
        if target in known and name not in known:
            out[name] = {"model": target, "why": f"assumed: {why}"}
    return out
