"""What a mock model says: a pure function of the model and the request.

The answer never pretends: a text opens by saying that it is a mock answer and
of which model, and a structured one says so in its free-text fields. Its shape
is what a real one's would be: a tool call where a tool is wanted, JSON that fits
the schema where one is given, a text of about the length that the question
invites, cut where ``max_tokens`` cuts it. The same request to the same model is
always answered alike, and the length does not depend on the model, so costs
compare like with like.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar.demo import samples, tokens
from sidecar.demo.roster import Manner, MockModel

_FILLER: Final = (
    "No model was run to write this: the words stand in for those that it would have written.",
    "First comes what is given and what is asked, in plain words.",
    "The substance follows, one step after another, each resting on the one before.",
    "A small example makes the point concrete.",
    "The awkward cases are named, with what to do about each.",
    "Numbers are carried through with their units.",
    "Where the question leaves something open, the assumption is spelled out.",
    "Whatever supports a claim is quoted beside it.",
    "An alternative is weighed, and the reason for not taking it is given.",
    "A last line says how to check the result.",
)
# How long an answer the words of a question invite, in tokens: the first that is found.
_LENGTHS: Final = (
    (r"\b(yes or no|one word|single word|only the (label|number|name|answer))\b", 6),
    (r"\b(one|a single) sentence\b|\bin a (line|sentence)\b", 28),
    (r"\b(prove|proof|derive|implement|refactor|design|essay|story|architecture)\b", 330),
    (r"\b(write|draft|plan|compare|review|analy[sz]e|debug|explain why)\b", 190),
    (r"\b(summar\w*|tl;dr|rewrite|translate|rephrase)\b", 110),
    (r"\b(classify|label|extract|which of)\b", 24),
    (r"^\W*(hi|hello|hey|thanks|thank you|good (morning|evening)|ok)\b", 20),
)
_STOPWORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "the and for with from that this into your you its his her their our are was were will can"
        " get use using one any all given when what which who how not but",
    )
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool: its name, and its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, whatever way it will be sent."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"  # stop | length | tool_calls

    @property
    def tokens(self) -> int:
        said = tokens.count(self.text)
        return max(
            1, said + sum(tokens.count(c.name) + tokens.count(c.arguments) for c in self.calls)
        )


def compose(model: MockModel, body: Mapping[str, Any]) -> Answer:
    """The answer of ``model`` to a checked request body."""
    said = _last_user_text(body["messages"])
    tool = _wanted_tool(body, said)
    if tool is not None:
        return Answer("", (_call(tool, said, model.name),), "tool_calls")
    form = body.get("response_format") or {}
    kind = form.get("type")
    if kind == "json_schema":
        schema = form["json_schema"].get("schema", {})
        value = samples.sample(schema, said, f"mock answer from {model.name}")
        text = orjson.dumps(value).decode()
    elif kind == "json_object":
        text = orjson.dumps({"mock": True, "model": model.name, "answer": _gist(said)}).decode()
    else:
        text = _prose(model, body["messages"], said)
    return _cut(text, body)


def _cut(text: str, body: Mapping[str, Any]) -> Answer:
    """``text`` as far as the request's ``stop`` and token limit let it go."""
    stops = body.get("stop") or ()
    for stop in (stops,) if isinstance(stops, str) else stops:
        text = text.split(stop, 1)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is None or tokens.count(text) <= limit:
        return Answer(text)
    kept = text.encode()[: limit * tokens.BYTES_PER_TOKEN].decode(errors="ignore")
    return Answer(kept, finish="length")


def _call(tool: Mapping[str, Any], said: str, model: str) -> ToolCall:
    schema = tool.get("parameters") or {"type": "object"}
    arguments = samples.sample(schema, said, f"mock argument from {model}")
    return ToolCall(tool["name"], orjson.dumps(arguments if arguments is not None else {}).decode())


def _wanted_tool(body: Mapping[str, Any], said: str) -> Mapping[str, Any] | None:
    """The tool to call: the one demanded, else the one that the last user turn speaks of."""
    offered: list[Mapping[str, Any]] = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice", "auto")
    if not offered or choice == "none":
        return None
    if isinstance(choice, Mapping):
        wanted = choice["function"]["name"]
        return next(tool for tool in offered if tool["name"] == wanted)
    if body["messages"][-1]["role"] == "tool":
        return None  # the answer to the call is in: now it is told in words
    spoken = _stems(said)
    scores = [_relevance(tool, spoken) for tool in offered]
    best = max(range(len(offered)), key=scores.__getitem__)
    return offered[best] if choice == "required" or scores[best] >= 2 else None


def _relevance(tool: Mapping[str, Any], spoken: frozenset[str]) -> int:
    """How much of a tool the prompt speaks of: a word of its name counts double."""
    name = re.sub(r"([a-z])([A-Z])|[_-]", r"\1 \2", tool["name"])
    about = _stems(f"{tool.get('description') or ''}")
    return 2 * len(_stems(name) & spoken) + len(about & spoken)


def _stems(text: str) -> frozenset[str]:
    words = re.findall(r"[^\W\d_]{3,}", text.lower())
    return frozenset(re.sub(r"(?<=\w{4})(ing|ed|s)$", "", w) for w in words if w not in _STOPWORDS)


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return _text(message.get("content"))
    return ""


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
    return "\n".join(texts)


def _gist(text: str, limit: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rsplit(" ", 1)[0] + "…"


def _prose(model: MockModel, messages: Sequence[Mapping[str, Any]], said: str) -> str:
    target = _length(said, len(messages))
    opening = f"[Mock answer from {model.name}]"
    last = messages[-1]
    if last["role"] == "tool":
        opening += f" The tool returned: {_gist(_text(last.get('content')), 160)}"
    elif said and target > 30:
        opening += f" You asked: “{_gist(said)}”"
    start = zlib.crc32(said.encode("utf-8", "surrogatepass"))
    sentences: list[str] = []
    size = tokens.count(opening)
    while size < target:
        # the first says that nothing was run; then on through the others from a place of its own
        turn = len(sentences)
        nth = 1 + (start + turn) % (len(_FILLER) - 1) if turn else 0
        sentences.append(_FILLER[nth])
        size += tokens.count(_FILLER[nth])
    return _laid_out(model.manner, opening, sentences)


def _length(said: str, messages: int) -> int:
    """Tokens that an answer to ``said`` takes: by its words, then by its size."""
    head = said[:2000].lower()
    invited = (target for pattern, target in _LENGTHS if re.search(pattern, head))
    target = next(invited, 45 + min(120, len(said) // 12))
    jitter = zlib.crc32(said.encode("utf-8", "surrogatepass")) % 40 - 20  # percent
    return target * (100 + jitter) // 100 + min(20, 2 * messages)


def _laid_out(manner: Manner, opening: str, sentences: Sequence[str]) -> str:
    if manner == "terse" or len(sentences) < 4:
        return " ".join((opening, *sentences))
    size = 3 if manner == "plain" else 2
    blocks = [" ".join(sentences[i : i + size]) for i in range(0, len(sentences), size)]
    if manner == "thorough":
        blocks = [f"{i}. {block}" for i, block in enumerate(blocks, 1)]
    return "\n\n".join((opening, *blocks))
