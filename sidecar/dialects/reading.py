"""What the dialects share when they read a body: type checks and one tally."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sidecar.dialects import base
from sidecar.dialects.base import Asked
from sidecar.errors import BadRequest
from sidecar.types import Prompt, Usage

NUMBER: Final = ((int, float), "a number")
INTEGER: Final = ((int,), "an integer")
BOOLEAN: Final = ((bool,), "a boolean")
STRING: Final = ((str,), "a string")
ARRAY: Final = ((list,), "an array")
OBJECT: Final = ((dict,), "an object")

# Fields that tie a request to what an upstream keeps, or make it keep something running.
_STATE: Final = frozenset(
    {"previous_response_id", "conversation", "background", "container", "mcp_servers"}
)

Types = dict[str, tuple[tuple[type, ...], str]]  # a dict to the compiler, which is quick with it


class Tally:
    """One pass over a request, gathering what the router needs to know of it."""

    def __init__(self) -> None:
        self.system = ""
        self.first = ""  # the first user turn
        self.user = ""  # the last user turn
        self.last = ""  # the last text of anyone, where no user speaks
        self.turns = 0
        self.messages = 0
        self.tool_names: list[str] = []
        self.answered = False  # a model has spoken
        self.in_tool_loop = False
        self.media = 0
        self.media_bytes = 0
        self.largest_tokens: int | None = None
        self.choices = 1
        self.stateful = False  # it names something that an upstream keeps
        self.needs: set[str] = set()

    def say(self, role: str, text: str) -> None:
        """Note that ``role`` said ``text``."""
        self.last = text or self.last
        self.in_tool_loop = False
        if role == "user":
            if not self.turns:
                self.first = text
            self.user = text
            self.turns += 1
        elif role == "assistant":
            self.answered = True
        elif role in {"system", "developer"}:
            self.system = f"{self.system}\n{text}" if self.system else text

    def act(self) -> None:
        """Note that the model called a tool."""
        self.answered = True
        self.in_tool_loop = False
        self.needs.add(base.TOOLS)

    def result(self) -> None:
        """Note what a tool gave back: the model's turn goes on with it."""
        self.in_tool_loop = True
        self.needs.add(base.TOOLS)

    def attach(self, need: str, holder: object) -> None:
        """Note a picture, clip or file, and what of the body it takes.

        A file of text is a file, and its bytes are as long to read as any text.
        """
        self.needs.add(need)
        self.media += 1
        if need != base.FILES or not _is_text(holder):
            self.media_bytes += media_size(holder)

    def offer(self, tools: object, where: str) -> None:
        """Note the tools on offer."""
        if not tools:
            return
        self.tool_names += map(_tool_name, objects(tools, where))
        self.needs.add(base.TOOLS)

    def asked(
        self, body: dict[str, Any], max_output_tokens: int | None, *, stream: bool = True
    ) -> Asked:
        """The tally as the rest of the path wants it."""
        return Asked(
            model=body["model"],
            stream=stream and body.get("stream") is True,
            prompt=Prompt(
                system=self.system,
                user=self.user if self.turns else self.last,
                first=self.first,
                turns=max(1, self.turns),
                answered=self.answered,
                in_tool_loop=self.in_tool_loop,
                tools=len(self.tool_names),
                tool_names=tuple(self.tool_names),
                media=self.media,
            ),
            needs=frozenset(self.needs),
            media_bytes=self.media_bytes,
            messages=self.messages,
            # some upstreams take -1 for "no limit"; a count below nothing would lower a bill
            max_output_tokens=None if (max_output_tokens or 0) < 0 else max_output_tokens,
            temperature=body.get("temperature"),
            stateful=self.stateful or (not _STATE.isdisjoint(body) and any(map(body.get, _STATE))),
            continues=body.get("previous_response_id") or None,
            largest_tokens=self.largest_tokens,
            choices=self.choices,
        )


def _tool_name(tool: Mapping[str, Any]) -> str:
    holder = tool.get("function") or tool.get("custom")
    name = holder.get("name") if isinstance(holder, dict) else tool.get("name")
    return str(name or tool.get("type"))


def _is_text(holder: object) -> bool:
    """Whether a file's bytes stand in the body as text: a data URL of some kind of text."""
    data = holder.get("file_data") if isinstance(holder, dict) else holder
    return isinstance(data, str) and data[:10].lower() == "data:text/"


def check(body: dict[str, Any], types: Types) -> None:
    """Refuse a body without a string ``model``, or with a known field of a wrong type."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("`model` must be a non-empty string.", param="model")
    for key, value in body.items():
        known = types.get(key)
        if known is None or value is None or type(value) in known[0]:
            continue
        if not _is(value, known[0]):
            raise BadRequest(f"`{key}` must be {known[1]}.", param=key)


def objects(value: object, where: str) -> list[dict[str, Any]]:
    """``value`` as a list of objects; :class:`BadRequest` where it is anything else."""
    if not isinstance(value, list):
        raise BadRequest(f"`{where}` must be an array of objects.", param=where)
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise BadRequest(f"`{where}[{i}]` must be an object.", param=f"{where}[{i}]")
    return value


def string(holder: Mapping[str, Any], key: str, where: str) -> str:
    """``holder[key]``, which must be a string."""
    value = holder.get(key)
    if not isinstance(value, str):
        raise BadRequest(f"`{where}.{key}` must be a string.", param=f"{where}.{key}")
    return value


def media_size(value: object, depth: int = 4) -> int:
    """The bytes that a picture, clip or file takes in the body, as text.

    As deep as an API puts them: what a caller nests further counts as text.
    """
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict) and depth:
        return sum(media_size(each, depth - 1) for each in value.values())
    return 0


def count(value: object) -> int | None:
    """A token count, or None for what is none: a negative one would lower a bill."""
    if type(value) is int:
        return value if value >= 0 else None
    return None


def detail(usage: dict[str, Any], group: str, key: str) -> int | None:
    """A token count one level down."""
    details = usage.get(group)
    return count(details.get(key)) if isinstance(details, dict) else None


def completion_usage(usage: dict[str, Any]) -> Usage:
    """The usage object of chat completions, completions and embeddings.

    Some upstreams count what was thought beside the answer and not within it; their total
    says so.
    """
    asked, told = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    thought = detail(usage, "completion_tokens_details", "reasoning_tokens")
    if thought and asked is not None and told is not None:
        beside = usage.get("total_tokens") == asked + told + thought
        told += thought if beside else 0
    return Usage(
        input_tokens=asked,
        cached_tokens=detail(usage, "prompt_tokens_details", "cached_tokens"),
        output_tokens=told,
        reasoning_tokens=thought,
        written_tokens=detail(usage, "prompt_tokens_details", "cache_write_tokens"),
    )


def _is(value: object, types: tuple[type, ...]) -> bool:
    # bool is an int to Python but not to the API
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))
