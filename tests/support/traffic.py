"""Clients that keep asking a sidecar while something happens to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import openai

PROMPTS = [
    "hello there",
    "What is the capital of France?",
    "Prove that the square root of two is irrational.",
    "Write a Python function that merges two sorted lists.",
    "Translate to German: good morning",
]


class Traffic:
    """The answers that clients got, and the reasons of each, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reasons: list[str] = []
        self.going = True
        self.answers: Counter[str] = Counter()

    async def client(self, number: int) -> None:
        async with openai.AsyncOpenAI(base_url=self.url, api_key="x", max_retries=0) as client:
            while self.going:
                asked = PROMPTS[(number + len(self.reasons)) % len(PROMPTS)]
                raw = await client.chat.completions.with_raw_response.create(
                    model="auto", messages=[{"role": "user", "content": asked}]
                )
                said = (await _parsed(raw)).choices[0].message.content
                self.answers[str(said)] += 1
                self.reasons.append(raw.headers["x-router-reason"])
                await asyncio.sleep(0.01)  # what happens meanwhile needs the machine too

    async def after(self, more: int) -> None:
        """Wait for so many more answers."""
        until = len(self.reasons) + more
        async with asyncio.timeout(60):
            while len(self.reasons) < until:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def flowing(url: str, clients: int = 4) -> AsyncIterator[Traffic]:
    """Traffic for the length of a block; raises, had one of the answers not been whole."""
    traffic = Traffic(url)
    asking = [asyncio.create_task(traffic.client(i)) for i in range(clients)]
    try:
        yield traffic
    finally:
        traffic.going = False
        await asyncio.gather(*asking)


async def _parsed(raw: object) -> openai.types.chat.ChatCompletion:
    value = raw.parse()  # type: ignore[attr-defined]
    return await value if asyncio.iscoroutine(value) else value
