"""What is sent: named kinds of request, each a pure function of a random generator.

The same seed gives the same requests. Every prompt carries a name of its own, in letters,
so that no cache knows it, nor takes it for another with other digits, unless the plan asks
for repeats.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

Message = dict[str, Any]

_EASY: Final = (
    "Say hello to the new colleague in one line.",
    "What is the capital of Portugal?",
    "Translate into French: the train leaves at nine.",
    "Fix the spelling: recieve, adress, seperate.",
    "Which of these is a fruit: chair, apple, river?",
    "Make this friendlier: send me the file.",
    "What day comes after Monday?",
    "Give three words that rhyme with light.",
)
_MIDDLE: Final = (
    "Summarise the note below in two sentences.",
    "Extract every date and amount from the text below as a list.",
    "Write a polite reply that declines the offer below and keeps the door open.",
    "Explain what an index does in a relational database, with one example.",
    "Compare renting and leasing a car for a small firm.",
    "Plan three days in a city by the sea for a family with two children.",
)
_HARD: Final = (
    "Prove that every bounded monotone sequence of real numbers converges, then give a "
    "counterexample for each hypothesis that is dropped.",
    "Design a lock-free queue for several producers and one consumer and argue why it is "
    "linearisable.",
    "A tenant's lease of ten years has an oral amendment. Argue both sides under a statute of "
    "frauds.",
    "Derive the posterior of a Gaussian mean with unknown variance under a conjugate prior.",
    "Find the flaw: a hash map that resizes while readers walk it without any barrier.",
    "Three barrels, two of them mislabelled, one weighing: give a strategy and its worst case.",
)
_SENTENCES: Final = (
    "The invoice of March was paid twice and the customer asks for the difference.",
    "The meeting moved to Thursday at 15:30 because the auditors arrive on Wednesday.",
    "Patients with a history of migraine were excluded from the second arm of the trial.",
    "The pump delivers forty litres a minute at three bar and needs service in spring.",
    "Our lease ends in August unless one side gives notice of ninety days.",
    "The second shift reported a drop of pressure in line four shortly after midnight.",
    "Sales in the north rose by six per cent while returns stayed where they were.",
    "The library closes earlier in winter, and the reading room needs a booking.",
)
_FIELDS: Final = ("city", "date", "customer", "order", "amount", "currency", "note", "language")


@dataclass(frozen=True, slots=True)
class Shot:
    """One request to send: everything but the model's name and whether it streams."""

    scenario: str
    messages: tuple[Message, ...] = field(repr=False)
    tools: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    max_tokens: int = 64
    hangs_up: bool = False  # after the first content


def _words(rng: random.Random, sentences: int) -> str:
    return " ".join(rng.choice(_SENTENCES) for _ in range(sentences))


def _user(rng: random.Random, text: str) -> Message:
    name = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(5))
    return {"role": "user", "content": f"{text} (case {name})"}


def short_chat(rng: random.Random) -> Shot:
    """A line or two, an easy one."""
    return Shot("short_chat", (_user(rng, rng.choice(_EASY)),), max_tokens=32)


def mixed_difficulty(rng: random.Random) -> Shot:
    """Easy, middling and hard prompts of up to a few hundred tokens."""
    text = rng.choice(rng.choice((_EASY, _MIDDLE, _HARD)))
    return Shot("mixed_difficulty", (_user(rng, f"{text}\n{_words(rng, rng.randrange(12))}"),))


def long_context(rng: random.Random) -> Shot:
    """A document of about 6,000 tokens and a question about it."""
    return Shot(
        "long_context",
        (
            {"role": "system", "content": "Answer from the document alone.\n" + _words(rng, 400)},
            _user(rng, rng.choice(_MIDDLE)),
        ),
    )


def growing_conversation(rng: random.Random) -> Shot:
    """A conversation somewhere between its second and its twelfth turn."""
    messages: list[Message] = [{"role": "system", "content": "You are a careful assistant."}]
    for _ in range(rng.randrange(1, 12)):
        messages.append(_user(rng, rng.choice(_MIDDLE)))
        messages.append({"role": "assistant", "content": _words(rng, 6)})
    return Shot("growing_conversation", (*messages, _user(rng, rng.choice(_EASY + _HARD))))


def _tool(rng: random.Random, number: int) -> dict[str, Any]:
    names = rng.sample(_FIELDS, 4)
    properties = {n: {"type": "string", "description": rng.choice(_SENTENCES)} for n in names}
    return {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": _words(rng, 2),
            "parameters": {"type": "object", "properties": properties, "required": names[:2]},
        },
    }


def large_tool_catalogue(rng: random.Random) -> Shot:
    """Sixty tools to choose from, about 40 KB of them."""
    tools = tuple(_tool(rng, i) for i in range(60))
    return Shot("large_tool_catalogue", (_user(rng, rng.choice(_MIDDLE)),), tools)


def tool_call_burst(rng: random.Random) -> Shot:
    """The turn after several tools were called at once: their results go up."""
    tools = tuple(_tool(rng, i) for i in range(8))
    calls = [
        {
            "id": f"call_{rng.randrange(10**9)}",
            "type": "function",
            "function": {"name": f"tool_{i}", "arguments": '{"city": "Porto"}'},
        }
        for i in range(6)
    ]
    results = (
        {"role": "tool", "tool_call_id": call["id"], "content": _words(rng, 3)} for call in calls
    )
    messages = (
        _user(rng, rng.choice(_MIDDLE)),
        {"role": "assistant", "content": None, "tool_calls": calls},
        *results,
    )
    return Shot("tool_call_burst", messages, tools)


def client_hang_ups(rng: random.Random) -> Shot:
    """A caller who leaves once the first content is there."""
    shot = mixed_difficulty(rng)
    return Shot("client_hang_ups", shot.messages, max_tokens=256, hangs_up=True)


SCENARIOS: Final[Mapping[str, Callable[[random.Random], Shot]]] = MappingProxyType(
    {
        make.__name__: make
        for make in (
            short_chat,
            mixed_difficulty,
            long_context,
            growing_conversation,
            large_tool_catalogue,
            tool_call_burst,
            client_hang_ups,
        )
    }
)


def shots(weights: Mapping[str, float], seed: int, repeat: float = 0.0) -> Iterator[Shot]:
    """An endless, reproducible mix: each kind by its weight, a share of them sent before."""
    rng = random.Random(seed)
    names, shares = list(weights), list(weights.values())
    seen: list[Shot] = []
    while True:
        if seen and rng.random() < repeat:
            yield rng.choice(seen)
            continue
        shot = SCENARIOS[rng.choices(names, shares)[0]](rng)
        if repeat:
            seen.append(shot)
        yield shot


def arrivals(rate: float, duration_s: float, seed: int) -> Sequence[float]:
    """Seconds from the start at which requests are due: a Poisson process of ``rate`` a second."""
    rng = random.Random(seed)
    due, at = [], rng.expovariate(rate)
    while at < duration_s:
        due.append(at)
        at += rng.expovariate(rate)
    return due
