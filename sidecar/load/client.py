"""One request sent and timed: the caller's side of a load run.

Over aiohttp's client with one session a leg. Times are of the monotonic clock and
count from the moment at which the request was due, not from when it left.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from sidecar.load.scenarios import Shot

_DATA: Final = b"data:"
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Sample:
    """How one request went."""

    scenario: str
    stream: bool
    due_s: float  # from the start of its leg
    late_ms: float  # the load generator's own lateness in sending it
    total_ms: float
    first_ms: float | None = None  # to the first content
    gaps_ms: tuple[float, ...] = ()  # between one read of content and the next
    status: int = 0
    error: str = ""  # why it counts as failed; empty where it did not
    model: str = ""  # as x-router-model says
    reason: str = ""
    decision_ms: float | None = None
    stages: frozenset[str] = frozenset()  # that Server-Timing names
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go, and as whom."""

    url: str  # the base URL, up to /v1
    key: str | None = None


class Caller:
    """Sends shots to one address."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._url = f"{address.url.rstrip('/')}/chat/completions"
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json"}
        if address.key:
            self._headers["Authorization"] = f"Bearer {address.key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=True,
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(
        self, shot: Shot, model: str, *, stream: bool, start: float, due: float
    ) -> Sample:
        """Send one request, due ``due`` s after ``start`` on the monotonic clock; never raises."""
        left = time.monotonic()
        trace = _Trace(start + due)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(shot, model, stream, trace)
        except TimeoutError:
            trace.error = f"no whole answer within {self._timeout_s:g} s"
        except aiohttp.ClientConnectorError:
            trace.error = "no connection"
        except (aiohttp.ClientError, OSError) as exc:
            trace.error = type(exc).__name__
        except ValueError:
            trace.error = "the answer is not JSON"
        return Sample(
            scenario=shot.scenario,
            stream=stream,
            due_s=due,
            late_ms=(left - start - due) * 1e3,
            total_ms=trace.ms(),
            first_ms=trace.first_ms,
            gaps_ms=tuple(trace.gaps_ms),
            status=trace.status,
            error=trace.error,
            model=trace.headers.get("x-router-model", ""),
            reason=trace.headers.get("x-router-reason", ""),
            decision_ms=_number(trace.headers.get("x-router-decision-ms")),
            stages=_stages(trace.headers.get("server-timing", "")),
            input_tokens=_count(trace.usage, "prompt_tokens"),
            cached_tokens=_count(trace.usage.get("prompt_tokens_details"), "cached_tokens"),
            output_tokens=_count(trace.usage, "completion_tokens"),
        )

    async def _exchange(self, shot: Shot, model: str, stream: bool, trace: _Trace) -> None:
        body = body_of(shot, model, stream=stream)
        async with self._session.post(self._url, data=body, headers=self._headers) as answer:
            trace.status = answer.status
            trace.headers = {name.lower(): value for name, value in answer.headers.items()}
            if answer.status != 200:
                trace.error = f"status {answer.status}{_code(await answer.read())}"
                return
            if not stream:
                said = orjson.loads(await answer.read())
                trace.content()
                if not isinstance(said, dict) or not said.get("choices"):
                    trace.error = "the answer is no chat completion"
                    return
                trace.usage = _object(said.get("usage"))
                return
            ended = False
            rest = b""
            async for chunk in answer.content.iter_any():
                events = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
                rest = events.pop()
                seen = [_event(event) for event in events]
                if any(one.content for one in seen):
                    trace.content()
                    if shot.hangs_up:
                        answer.close()
                        return
                for one in seen:
                    trace.usage = one.usage or trace.usage
                    ended = ended or one.ended
                    if one.error:
                        trace.error = "an error event in the stream"
            # some leave the last blank line out
            if not (ended or _event(rest).ended or trace.error):
                trace.error = "the stream ended without its end"


class _Trace:
    """What is seen of one exchange while it goes on."""

    def __init__(self, due: float) -> None:
        self._due = due
        self._last = 0.0
        self.first_ms: float | None = None
        self.gaps_ms: list[float] = []
        self.status = 0
        self.error = ""
        self.headers: dict[str, str] = {}
        self.usage: dict[str, Any] = {}

    def ms(self) -> float:
        return (time.monotonic() - self._due) * 1e3

    def content(self) -> None:
        now = self.ms()
        if self.first_ms is None:
            self.first_ms = now
        else:
            self.gaps_ms.append(now - self._last)
        self._last = now


@dataclass(frozen=True, slots=True)
class _Event:
    content: bool = False
    ended: bool = False
    error: bool = False
    usage: dict[str, Any] | None = None


def _event(raw: bytes) -> _Event:
    """What one event of a chat stream says."""
    data = b"".join(line[5:].strip() for line in raw.splitlines() if line.startswith(_DATA))
    if data == b"[DONE]":
        return _Event(ended=True)
    try:
        said = orjson.loads(data) if data else {}
    except ValueError:
        return _Event(error=True)
    if not isinstance(said, dict):
        return _Event(error=True)
    choices = said.get("choices")
    deltas = [
        _object(_object(choice).get("delta"))
        for choice in (choices if isinstance(choices, list) else ())
    ]
    return _Event(
        content=any(delta.get("content") or delta.get("tool_calls") for delta in deltas),
        error="error" in said,
        usage=_object(said.get("usage")) or None,
    )


def body_of(shot: Shot, model: str, *, stream: bool) -> bytes:
    """The request's body, asking a stream to count its tokens."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(shot.messages),
        "max_tokens": shot.max_tokens,
    }
    if shot.tools:
        body["tools"] = list(shot.tools)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return orjson.dumps(body)


def _object(value: Any) -> dict[str, Any]:
    """What is no JSON object, whoever sent it, has nothing to tell."""
    return value if isinstance(value, dict) else {}


def _count(value: Any, name: str) -> int | None:
    found = _object(value).get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _code(body: bytes) -> str:
    """The code or the type that an error's body gives, where it is a word; never its text."""
    try:
        error = _object(_object(orjson.loads(body)).get("error"))
    except ValueError:
        return ""
    words = (error.get("code"), error.get("type"))
    return next((f", {w}" for w in words if isinstance(w, str) and _WORD.fullmatch(w)), "")


def _stages(timing: str) -> frozenset[str]:
    """The names in a ``Server-Timing`` header."""
    return frozenset(part.partition(";")[0].strip() for part in timing.split(",") if part.strip())


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
