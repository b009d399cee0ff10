"""What the encoder sees of a prompt: one bounded text window.

The window is ``[signals] SYSTEM head-of-system USER head-of-last-turn CUT tail``.
Every part is sliced in characters before anything else touches it, so a prompt
of ten megabytes costs what a short one does, and nothing in a text makes it
raise. Signals (code, dense digits, several turns, tools, media) travel as single
marker characters that the tokenizer knows as whole tokens: the encoder keeps one
input, and a new signal is a new token. The markers are private-use characters
that are removed from the prompt's own text, so a caller can't write one.

Training, serving, ``score``, ``eval`` and ``explain`` all call :func:`features_of`. It
leaves out the prompt's claims about itself (:mod:`sidecar.claims`), unless the configuration
says otherwise; training alone always reads them, so that the encoder learns to read past
those that are not known for what they are.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.claims import unclaimed
from sidecar.types import Features, Prompt

SYSTEM: Final = "\ue000"  # the head of the system prompt follows
USER: Final = "\ue001"  # the last user turn follows
CUT: Final = "\ue002"  # something was left out here
CODE: Final = "\ue003"  # a code fence or what looks like source code
DIGITS: Final = "\ue004"  # more than a tenth of the text is digits
TURNS: Final = "\ue005"  # an earlier user turn exists
TOOLS: Final = "\ue006"  # the request offers tools
MEDIA: Final = "\ue007"  # the request carries images, audio or files
LONG: Final = "\ue008"  # the last turn is far longer than the window
MARKERS: Final = (SYSTEM, USER, CUT, CODE, DIGITS, TURNS, TOOLS, MEDIA, LONG)

SYSTEM_CHARS: Final = 200
HEAD_CHARS: Final = 600
TAIL_CHARS: Final = 500
_SLACK: Final = 3  # raw characters read per kept one: room for runs of white space
_LONG_CHARS: Final = 8_000

# Controls, lone surrogates, private use (our markers among it), zero-width and
# bidirectional marks: none carries a demand, all can break a tokenizer.
_UNSAYABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
    r"\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff]+"
)
# Substrings rather than a pattern: linear whatever the text, and good enough for a hint.
_CODE: Final = ("```", ";\n", "{\n", "):\n", "def ", "#include", "</", "SELECT ", "=> ", "();")


def _clean(raw: str) -> str:
    return " ".join(_UNSAYABLE.sub(" ", raw).split())


def _heard(text: str, claims: bool) -> tuple[str, int]:
    return (text, 0) if claims else unclaimed(text)


def features_of(prompt: Prompt, *, claims: bool = False) -> Features:
    """The window of one prompt. Pure, never raises, O(1) in the length of the texts.

    What the prompt says of the router, of models and of how hard it is stays out, where it
    says anything else; with ``claims`` all of it is read.
    """
    user, system = prompt.user, prompt.system
    whole = HEAD_CHARS + TAIL_CHARS
    if len(user) <= whole * _SLACK:
        kept, unheard = _heard(user, claims)
        kept = _clean(kept)
        cut = len(kept) > whole
        head, tail = (kept[:HEAD_CHARS], kept[-TAIL_CHARS:]) if cut else (kept, "")
    else:
        head, unheard = _heard(user[: HEAD_CHARS * _SLACK], claims)
        tail, more = _heard(user[-TAIL_CHARS * _SLACK :], claims)
        unheard += more
        head, tail = _clean(head)[:HEAD_CHARS], _clean(tail)[-TAIL_CHARS:]
        cut = True
    seen = user[: HEAD_CHARS * _SLACK]
    parts = []
    if any(mark in seen for mark in _CODE):
        parts.append(CODE)
    digits = sum(map(head.count, "0123456789"))
    if digits * 10 > len(head):
        parts.append(DIGITS)
    if prompt.turns > 1:
        parts.append(TURNS)
    if prompt.tools > 0:
        parts.append(TOOLS)
    if prompt.media > 0:
        parts.append(MEDIA)
    if len(user) > _LONG_CHARS:
        parts.append(LONG)
    if system:
        rules, more = _heard(system[: SYSTEM_CHARS * _SLACK], claims)
        unheard += more
        rules = _clean(rules)
        shortened = len(rules) > SYSTEM_CHARS or len(system) > SYSTEM_CHARS * _SLACK
        rules = rules[:SYSTEM_CHARS]
        parts += [SYSTEM, rules, CUT] if shortened else [SYSTEM, rules]
    parts += [USER, head]
    if cut:
        parts += [CUT, tail]
    return Features(window=" ".join(parts), empty=not (head or tail), claims=unheard)


def looked_at(prompt: Prompt) -> tuple[object, ...]:
    """All of a prompt that :func:`features_of` looks at: where it is the same, so is the window."""
    user, system = prompt.user, prompt.system
    if len(user) > (HEAD_CHARS + TAIL_CHARS) * _SLACK:
        head, tail = user[: HEAD_CHARS * _SLACK], user[-TAIL_CHARS * _SLACK :]
    else:
        head, tail = user, ""
    return (
        head, tail, len(user) > _LONG_CHARS, system[: SYSTEM_CHARS * _SLACK],
        len(system) > SYSTEM_CHARS * _SLACK, prompt.turns > 1, prompt.tools > 0, prompt.media > 0,
    )  # fmt: skip


__all__ = ["MARKERS", "features_of", "looked_at"]
