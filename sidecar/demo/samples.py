"""A value that fits a JSON schema, made without a model.

Tool arguments and structured answers of the mock come from here. What the
prompt says is used where it fits (an enum's word, a number, an order id, a
place), so that a tool call reads as if it were meant; all else is the smallest
value that the schema allows. The same schema and prompt always give the same
value. Covers what structured outputs use of JSON Schema; a schema that
contradicts itself gives a value that does not validate, and never an exception.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

_DEPTH: Final = 12  # a recursive schema ends here
_NUMBER: Final = re.compile(r"(?<![\w.:-])\d+(?:\.\d+)?(?![\w:]|-\d)")
_CODE: Final = re.compile(r"\b[A-Z]{1,5}-?\d[\w-]*\b|(?<![\w-])\d{4,}(?![\w-])")
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_FILE: Final = re.compile(r"[\w./-]+\.[a-z]{1,4}\b")
_WORD: Final = re.compile(r"[^\s,;!?\"'()]+(?<![.:])")
_DATE: Final = re.compile(r"\b\d{4}-\d\d-\d\d\b")
_QUOTED: Final = re.compile(r"[\"“«]([^\"”»]{2,80})[\"”»]")
_PLACE: Final = re.compile(r"(?<=[a-z,] )([A-Z][\w'’-]+(?: [A-Z][\w'’-]+)?)")
_FORMATS: Final = {
    "date": "2026-01-15",
    "time": "09:30:00Z",
    "date-time": "2026-01-15T09:30:00Z",
    "duration": "PT30M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_WORDY: Final = ("id", "number", "code", "order", "ticket", "invoice", "sku", "account", "ref")
_PLACES: Final = ("city", "location", "place", "country", "town", "origin", "destination")
# One piece of a simple pattern: a class, an escape or a letter, then how often.
_PIECE: Final = re.compile(r"(\[[^\]]+\]|\\.|[^\\\[\](){}+*?|^$])(\{(\d+)(?:,\d*)?\}|[+*?])?")


def sample(schema: Mapping[str, Any] | bool, prompt: str = "", note: str = "mock") -> Any:
    """A value for ``schema``; free text in it is ``note`` and the name of the field."""
    root = schema if isinstance(schema, Mapping) else {}
    return _Sampler(root, prompt, note).value(schema, "", 0)


class _Sampler:
    def __init__(self, root: Mapping[str, Any], prompt: str, note: str) -> None:
        self.root = root
        self.prompt = prompt
        self.note = note
        self.used: set[str] = set()  # words of the prompt that are an argument already
        self.numbers = [float(n) for n in _NUMBER.findall(prompt)]

    def value(self, schema: object, name: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _DEPTH:
            return None
        schema = self.resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self.choice(schema["enum"])
        match self.kind(schema):
            case "object":
                return self.mapping(schema, depth)
            case "array":
                return self.array(schema, name, depth)
            case "string":
                return self.string(schema, name)
            case "integer":
                return self.number(schema, whole=True)
            case "number":
                return self.number(schema, whole=False)
            case "boolean":
                return True
            case "null":
                return None
        return f"{self.note}: {name or 'value'}"

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """``schema`` with references followed, all-of merged and one branch taken."""
        for _ in range(_DEPTH):
            if isinstance(ref := schema.get("$ref"), str):
                schema = self.at(ref)
            elif isinstance(parts := schema.get("allOf"), list) and parts:
                schema = self.merged(schema, parts)
            elif branches := schema.get("anyOf") or schema.get("oneOf"):
                rest = {k: v for k, v in schema.items() if k not in {"anyOf", "oneOf"}}
                real = [b for b in branches if isinstance(b, Mapping) and b.get("type") != "null"]
                schema = {**rest, **(real[0] if real else {"type": "null"})}
            else:
                break
        return schema

    def merged(self, schema: Mapping[str, Any], parts: list[Any]) -> Mapping[str, Any]:
        whole: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
        for part in parts:
            found = self.resolved(part) if isinstance(part, Mapping) else {}
            for key, value in found.items():
                if key == "properties":
                    whole[key] = {**whole.get(key, {}), **value}
                elif key == "required":
                    whole[key] = [*whole.get(key, []), *value]
                else:
                    whole[key] = value
        return whole

    def at(self, ref: str) -> Mapping[str, Any]:
        node: Any = self.root
        for step in ref.removeprefix("#").strip("/").split("/") if ref != "#" else ():
            key = step.replace("~1", "/").replace("~0", "~")
            node = node.get(key) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else {}

    @staticmethod
    def kind(schema: Mapping[str, Any]) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if isinstance(kind, str):
            return kind
        if "properties" in schema:
            return "object"
        return "array" if "items" in schema else ""

    def choice(self, options: list[Any]) -> Any:
        """The option that the prompt names, else the first."""
        said = self.prompt.lower()
        for option in options:
            if isinstance(option, str) and option:
                word = re.escape(option.lower().replace("_", " "))
                if re.search(rf"(?<!\w){word}(?!\w)", said):
                    return option
        return options[0]

    def mapping(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        known = schema.get("properties")
        known = known if isinstance(known, Mapping) else {}
        required = schema.get("required") or []
        extra = schema.get("additionalProperties")
        value = {}
        for name in dict.fromkeys([*required, *(known if depth < 3 else ())]):
            if name in known:
                value[name] = self.value(known[name], name, depth + 1)
            else:
                value[name] = self.value(extra or {"type": "string"}, name, depth + 1)
        return value

    def array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        fixed = schema.get("prefixItems")
        head = [self.value(s, name, depth + 1) for s in fixed] if isinstance(fixed, list) else []
        least = schema.get("minItems", 0)
        length = max(least, len(head), 1 if depth < 4 else 0)
        length = min(length, schema.get("maxItems", length))
        item = schema.get("items", {"type": "string"})
        tail = [self.value(item, name, depth + 1) for _ in range(length - len(head))]
        if schema.get("uniqueItems") and len(tail) > 1:
            tail = self.distinct(item, tail)
        return head[:length] + tail

    @staticmethod
    def distinct(item: object, values: list[Any]) -> list[Any]:
        options = item.get("enum") if isinstance(item, Mapping) else None
        if isinstance(options, list):
            return options[: len(values)]
        if all(isinstance(v, str) for v in values):
            return [f"{v} {i + 1}" for i, v in enumerate(values)]
        if all(isinstance(v, (int, float)) for v in values):
            return [v + i for i, v in enumerate(values)]
        return values

    def number(self, schema: Mapping[str, Any], *, whole: bool) -> float | int:
        step = schema.get("multipleOf") or (1 if whole else 0)
        low = schema.get("minimum", -math.inf)
        high = schema.get("maximum", math.inf)
        nudge = step or 1e-3
        low = max(low, schema.get("exclusiveMinimum", -math.inf) + nudge)
        high = min(high, schema.get("exclusiveMaximum", math.inf) - nudge)
        for said in self.numbers:
            fits = low <= said <= high and (not step or math.isclose(said % step, 0, abs_tol=1e-9))
            if fits:
                return int(said) if whole else said
        least = min(max(low, 1), high)
        if step:
            least = math.ceil(least / step) * step
            least = least if least <= high else math.floor(high / step) * step
        return int(least) if whole else least

    def string(self, schema: Mapping[str, Any], name: str) -> str:
        low: int = schema.get("minLength", 0)
        high: float = schema.get("maxLength", math.inf)
        pattern: str | None = schema.get("pattern")
        for text in self.guesses(schema, name):
            if not low <= len(text) <= high:
                continue
            if pattern is None or _matches(pattern, text):
                self.used.add(text)
                return text
        if pattern is not None:
            return spelled(pattern)
        text = f"{self.note}: {name or 'text'}"
        text += "." * max(0, low - len(text))
        return text if len(text) <= high else text[: int(high)]

    def guesses(self, schema: Mapping[str, Any], name: str) -> list[str]:
        """What the prompt says that a field of this name could mean, then its format's sample."""
        word = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        form = schema.get("format")
        found: list[str] = []
        if form == "email" or "mail" in word:
            found += _MAIL.findall(self.prompt)
        if form == "date" or "date" in word or word == "day":
            found += _DATE.findall(self.prompt)
        if form is None:
            if any(part in _WORDY for part in word.split("_")) or "pattern" in schema:
                found += _CODE.findall(self.prompt)
            if any(place in word for place in _PLACES):
                found += _PLACE.findall(self.prompt)
            if any(
                part in ("query", "question", "text", "search", "q") for part in word.split("_")
            ):
                found += [*_QUOTED.findall(self.prompt), " ".join(self.prompt.split())[:120]]
        if form in _FORMATS:
            found.append(_FORMATS[form])
        if word.endswith(("path", "file", "filename")):
            found += _FILE.findall(self.prompt)
        if "pattern" in schema:
            words = _WORD.findall(self.prompt)
            found += sorted(words, key=self.used.__contains__)  # source and target differ
            found += [*_FORMATS.values(), "EUR", "en", "+15550100", "1", "a"]
        return [text for text in found if text]


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True


def spelled(pattern: str) -> str:
    """A text for a simple pattern: classes, escapes and letters with their counts."""
    inner = re.sub(r"\(\?[:=!]|[()]", "", pattern.split("|", 1)[0])
    out = []
    for piece, times, least in _PIECE.findall(inner):
        repeat = int(least) if least else (0 if times in ("*", "?") else 1)
        out.append(_letter(piece) * repeat)
    return "".join(out)


def _letter(piece: str) -> str:
    for candidate in "A1a -_.:/@+#":
        try:
            if re.fullmatch(piece, candidate):
                return candidate
        except re.error:
            break
    return piece[-1]
