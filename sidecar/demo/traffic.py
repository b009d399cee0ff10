"""The demo's traffic: prompts from a file, sent as an app would send them.

Through the official ``openai`` client, with ``model="auto"`` and no retries, so
that whatever fails shows. Each answer is checked like an app would use it: a
stream has its end, tool arguments and structured answers parse, and the model
that answered is the one that the headers name. What fails a check is an error.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sidecar.demo.processes import DemoError
from sidecar.demo.site import ROUTE, Site

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

PROMPTS: Final = Path(__file__).with_name("prompts.jsonl")
_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request that the demo sends."""

    id: str
    kind: str
    stream: bool
    body: Mapping[str, Any] = field(repr=False)  # messages, tools, response_format

    @property
    def gist(self) -> str:
        """What the last user turn says, on one line."""
        for message in reversed(self.body["messages"]):
            if message["role"] == "user":
                content = message["content"]
                if isinstance(content, str):
                    return " ".join(content.split())
                texts = [part["text"] for part in content if part["type"] == "text"]
                return " ".join(" ".join(texts).split())
        return ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request; all of it read from the answer."""

    ask: Ask
    seconds: float
    model: str = ""
    reason: str = ""
    decision_ms: float | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    error: str = ""


def asks(count: int | None = None) -> Iterator[Ask]:
    """The prompts in their order, once over or ``count`` of them, from the start again."""
    rows = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines() if line]
    for nth in range(len(rows) if count is None else count):
        row = dict(rows[nth % len(rows)])
        again = nth // len(rows)
        yield Ask(
            id=row.pop("id") + (f"#{again + 1}" if again else ""),
            kind=row.pop("kind"),
            stream=row.pop("stream"),
            body=row,
        )


def require_client() -> None:
    """Say what to install where the official client is missing."""
    if importlib.util.find_spec("openai") is None:
        raise DemoError(
            "The demo sends its prompts through the official openai client, which is not "
            "installed. Install it with: pip install 'pointsman[demo]'"
        )


async def send_all(
    site: Site, todo: list[Ask], concurrency: int, on_result: Callable[[Result], None]
) -> list[Result]:
    """Send everything, at most ``concurrency`` at a time; results in the order of the end."""
    import openai  # noqa: PLC0415  # an extra, and slow to import

    results: list[Result] = []
    waiting = iter(todo)
    # the environment's proxy is not for loopback
    transport = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=site.base_url,
        api_key="any-key-the-sidecar-keeps-it",
        max_retries=0,
        timeout=_TIMEOUT_S,
        http_client=transport,
    ) as client:

        async def worker() -> None:
            for ask in waiting:
                result = await send(client, site, ask)
                results.append(result)
                on_result(result)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    return results


async def send(client: AsyncOpenAI, site: Site, ask: Ask) -> Result:
    """Send one request and read its whole answer; failures are results too."""
    began = time.perf_counter()
    answer = _Answer(ask)
    request: dict[str, Any] = {"model": ROUTE, **ask.body}
    try:
        if ask.stream:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        raw = await client.chat.completions.with_raw_response.create(**request)
        answer.read_headers(raw.headers)
        parsed = raw.parse()
        if ask.stream:
            async for chunk in parsed:
                answer.read_chunk(chunk)
        else:
            answer.read_whole(parsed)
        answer.check(site)
    except Exception as exc:  # whatever breaks an answer is a result, not the demo's end
        answer.fault = f"{type(exc).__name__}: {exc}"
    return answer.result(time.perf_counter() - began)


class _Answer:
    """An answer as it gathers, streamed or not."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.headers: Mapping[str, str] = {}
        self.text = ""
        self.arguments: list[str] = []  # of the tool calls, in their order
        self.model = ""
        self.finish: str | None = None
        self.usage: CompletionUsage | None = None
        self.fault = ""

    def read_headers(self, headers: Mapping[str, str]) -> None:
        self.headers = {name.lower(): value for name, value in headers.items()}

    def read_whole(self, body: ChatCompletion) -> None:
        choice = body.choices[0]
        self.model, self.usage, self.finish = body.model, body.usage, choice.finish_reason
        self.text = choice.message.content or ""
        for call in choice.message.tool_calls or ():
            if call.type == "function":
                self.arguments.append(call.function.arguments)

    def read_chunk(self, chunk: ChatCompletionChunk) -> None:
        self.model = chunk.model
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            self.finish = choice.finish_reason or self.finish
            self.text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                while len(self.arguments) <= call.index:
                    self.arguments.append("")
                if call.function is not None:
                    self.arguments[call.index] += call.function.arguments or ""

    def check(self, site: Site) -> None:
        """Note the first thing that an app would stumble over."""
        routed = self.headers.get("x-router-model", "")
        if not self.finish:
            self.fault = "the answer has no end"
        elif not self.text and not self.arguments:
            self.fault = "the answer is empty"
        elif self.usage is None:
            self.fault = "the answer has no usage"
        elif site.upstream_models.get(routed) != self.model:
            self.fault = f"x-router-model is {routed!r}, but {self.model!r} answered"
        for text in self.arguments:
            json.loads(text)
        if "response_format" in self.ask.body:
            json.loads(self.text)

    def result(self, seconds: float) -> Result:
        usage = self.usage
        details = usage.prompt_tokens_details if usage else None
        took = self.headers.get("x-router-decision-ms")
        return Result(
            ask=self.ask,
            seconds=seconds,
            model=self.headers.get("x-router-model", ""),
            reason=self.headers.get("x-router-reason", ""),
            decision_ms=float(took) if took else None,
            input_tokens=usage.prompt_tokens if usage else 0,
            cached_tokens=(details.cached_tokens or 0) if details else 0,
            output_tokens=usage.completion_tokens if usage else 0,
            error=self.fault,
        )
