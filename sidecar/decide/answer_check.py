"""Whether a cheap model's answer will do, by what can be seen of it.

The cascade's check: how the answer ended, whether it is empty or a refusal, whether it
is the JSON that was asked for, and how sure the model was where the upstream says so.
It cannot see whether the answer is right; the encoder's probability stands for that,
before the model is asked. Pure.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import jsonschema_rs
import orjson

from sidecar.config.schema import Cascade
from sidecar.dialects.answers import Said
from sidecar.types import Call

# How refusals begin, in small letters with straight apostrophes.
REFUSALS: Final = (
    "i'm sorry, but i can", "i am sorry, but i can", "i'm sorry, i can", "sorry, but i can",
    "sorry, i can't", "i can't help with", "i cannot help with", "i can't assist",
    "i cannot assist", "i'm unable to", "i am unable to", "i'm not able to", "i am not able to",
    "as an ai", "as a language model", "i can't comply", "i cannot comply", "i won't be able to",
    "i cannot provide", "i can't provide", "i must decline", "i don't have the ability to",
)  # fmt: skip
_OPENING: Final = 160  # characters in which a refusal shows


def fault(answer: Said, call: Call, rules: Cascade) -> str | None:
    """Why the answer will not do, in a few words that quote none of it; None if it will."""
    if answer.end == "length" and call.max_output_tokens is None:
        return "check: it was cut off at a limit that the app did not set"
    if answer.end == "filtered":
        return "check: it was filtered"
    if answer.refused or answer.end == "refused" or (rules.refusals and _refuses(answer.text)):
        return "check: it refuses"
    if answer.acts:
        return None  # a tool's call is not read: its own program will judge it
    if not answer.text.strip():
        return "check: it is empty"
    if rules.json_schema and (why := _malformed(answer.text, call)) is not None:
        return why
    if rules.min_logprob is not None and answer.logprobs:
        mean = sum(answer.logprobs) / len(answer.logprobs)
        if mean < rules.min_logprob:
            return f"check: the mean log-probability of its tokens is {mean:.2f}"
    return None


def _refuses(text: str) -> bool:
    opening = text[: 2 * _OPENING].strip()[:_OPENING].casefold().replace("\u2019", "'")
    return any(phrase in opening for phrase in REFUSALS)


def _malformed(text: str, call: Call) -> str | None:
    """Why the text is not the JSON that the request asked for; None where it asked for none."""
    form = wanted_form(orjson.loads(call.body))
    if form is None:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "check: it is not JSON"
    if isinstance(form, dict) and form and not _fits(form, value):
        return "check: it does not fit the JSON schema"
    return None


def wanted_form(body: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON schema that a body asks for, {} for any JSON, None for no JSON at all."""
    for form in (
        body.get("response_format"),
        (body.get("text") or {}).get("format") if isinstance(body.get("text"), dict) else None,
        body.get("output_format"),
        (body.get("output_config") or {}).get("format"),
    ):
        if not isinstance(form, dict):
            continue
        if form.get("type") == "json_object":
            return {}
        if form.get("type") == "json_schema":
            holder = form.get("json_schema")
            found = holder.get("schema") if isinstance(holder, dict) else form.get("schema")
            return found if isinstance(found, dict) else {}
    return None


def _fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether ``value`` is valid. A schema that cannot be used judges nothing."""
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            retriever=_stays_here,
            pattern_options=jsonschema_rs.RegexOptions(),  # linear in the text, whatever is asked
        )
    except ValueError:
        return True
    return bool(validator.is_valid(value))


def _stays_here(uri: str) -> NoReturn:
    """A schema may not make the sidecar fetch anything."""
    raise ValueError("references to elsewhere are not followed")
