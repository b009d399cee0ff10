"""What flows along the request path, as frozen dataclasses.

A request becomes, in order, a :class:`Call`, :class:`Features`, a
:class:`Reading`, a :class:`Decision`, an :class:`Attempt` and an
:class:`Outcome`. No dict crosses a module boundary, and nothing here does I/O:
whoever reads this file knows every fact that one stage may know of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any, Final

from sidecar.frozen import dataclass

TASKS: Final = (
    "qa",
    "math",
    "code",
    "classification",
    "extraction",
    "summarization",
    "rewrite",
    "translation",
    "creative_writing",
    "drafting",
    "brainstorming",
    "planning",
    "critique",
    "reasoning",
    "chitchat",
    "assistant",
    "agentic",
)
DOMAINS: Final = (
    "general",
    "finance",
    "math",
    "computing",
    "medical",
    "legal",
    "science",
    "humanities",
    "social_science",
)
TIERS: Final = ("simple", "moderate", "complex")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request says, whatever its dialect: the encoder's raw material.

    ``system`` and ``user`` are whole texts, held by reference; bounding them is
    the work of :func:`sidecar.features.features_of`.
    """

    system: str = ""
    user: str = ""  # the text of the last user turn
    first: str = ""  # the text of the first one
    turns: int = 1  # user turns in the conversation
    answered: bool = False  # a model has spoken in it
    in_tool_loop: bool = False  # what came last is what a tool gave back
    tools: int = 0  # tool definitions offered to the model
    tool_names: tuple[str, ...] = ()
    media: int = 0  # images, audio clips and files attached anywhere


@dataclass(frozen=True, slots=True)
class Features:
    """What the encoder sees of a prompt: one bounded text window."""

    window: str
    empty: bool = False  # nothing was said: there is nothing to read a demand from
    claims: int = 0  # sentences about the router or the difficulty that were left out


@dataclass(frozen=True, slots=True)
class Reading:
    """What the encoder says of one prompt.

    ``demand`` is the vector z of the item-response model
    ``P(model m suffices) = sigmoid(a_m . z + b_m)``; None from a backend that has
    no trained encoder, which then gives ``difficulty`` alone.
    """

    difficulty: float  # 0..1, higher where a stronger model is needed
    demand: tuple[float, ...] | None = None  # K numbers
    task_probs: tuple[float, ...] = ()  # in the order of TASKS
    domain_probs: tuple[float, ...] = ()  # in the order of DOMAINS
    tier_probs: tuple[float, ...] = ()  # in the order of TIERS
    ood: float = 0.0  # 0..1, higher where the text is unlike the training data
    output_tokens: float | None = None  # expected length of the answer
    version: str = ""  # of the encoder that said so
    remembered: str = ""  # where a cache said it for the encoder: "exact" or "near"

    @property
    def task(self) -> str:
        return _argmax(TASKS, self.task_probs)

    @property
    def domain(self) -> str:
        return _argmax(DOMAINS, self.domain_probs)

    @property
    def tier(self) -> str:
        return _argmax(TIERS, self.tier_probs)


def _argmax(labels: tuple[str, ...], probs: tuple[float, ...]) -> str:
    # a loop, for the compiler makes one of machine words of it; the first of equals
    best, at = -1.0, -1
    for i, prob in enumerate(probs):
        if prob > best:
            best, at = prob, i
    return labels[at] if at >= 0 else ""


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller asked of the router itself, in ``x-router-*`` headers."""

    session: str | None = None
    tenant: str | None = None
    quality: float | None = None  # 0..1, overrides the route's
    max_cost_usd: float | None = None  # for this request
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """The caller's headers that may go up, as lines of a head, by what may stop them."""

    plain: bytes = field(default=b"", repr=False)
    encoding: bytes = field(default=b"", repr=False)  # Accept-Encoding
    credentials: bytes = field(default=b"", repr=False)  # only where an upstream wants them

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each but the credentials, its name in small letters."""
        for line in (self.plain + self.encoding).split(b"\r\n")[:-1]:
            name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
            yield name.lower(), value.strip(" \t")


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes to stand in place of ``body[start:end]``."""

    start: int
    end: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, parsed: everything that later stages may know of it."""

    request_id: str
    dialect: str
    model: str  # as the caller wrote it
    body: bytes = field(repr=False)  # as it came: prompts stay out of every repr
    model_span: tuple[int, int]  # where the value of ``model`` stands in ``body``
    stream: bool
    prompt: Prompt = field(repr=False)
    needs: frozenset[str]  # capabilities without which the answer would be wrong
    input_tokens: int  # a cheap bound from above
    max_output_tokens: int | None  # of one choice, as asked
    hints: Hints = Hints()
    passed: Passed = Passed()  # headers to send up
    below: str = ""  # the path of the dialect, for what is asked beside an answer
    query: str = ""  # of the request's URL, as it came
    usage_edit: Edit | None = None  # asks a stream to count its tokens, where the app did not
    temperature: float | None = None  # as asked
    stateful: bool = False  # it continues or leaves something at the upstream
    continues: str | None = None  # the id of the answer that it goes on with
    # a bound of the largest of several inputs, where each has a model's window to itself
    largest_tokens: int | None = None
    choices: int = 1  # answers asked for at once, each as long as its limit and charged for


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer was given and is kept, for a request that goes on with it."""

    model: str
    upstream: str
    base_url: str  # of the replica
    tokens: int = 0  # of the conversation, that answer included

    def is_at(self, upstream: str, base_url: str) -> bool:
        return self.upstream == upstream and self.base_url == base_url


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence that is put together only where somebody reads it.

    What it is put together from must be small: it lives as long as the decision does,
    and that is kept when the request is long gone.
    """

    text: str | Callable[..., str]  # with a place for each value, or what makes it of them
    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if callable(self.text):
            return self.text(*self.values)
        return self.text % self.values if self.values else self.text


@dataclass(frozen=True, slots=True)
class Step:
    """One link in the chain of reasons."""

    stage: str
    text: str | Callable[..., str]
    values: tuple[Any, ...] = ()

    @property
    def verdict(self) -> str:
        return str(Words(self.text, self.values))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could take this request, as the policy saw it."""

    model: str
    probability: float | None  # that it suffices
    cost_usd: float  # expected, for this request
    latency_s: float | None = None  # expected, to the end of the answer; None where unknown
    reliability: float = 1.0  # the chance that an attempt gives an answer at all


@dataclass(frozen=True, slots=True)
class Decision:
    """Which model answers, why, and who stands in if it does not."""

    model: str
    route: str  # "-" where the request named a model
    reason: str  # one of the words of the contract
    fallbacks: tuple[str, ...] = ()  # in the order they are tried
    candidates: Sequence[Candidate] = ()
    steps: tuple[Step, ...] = ()
    reading: Reading | None = None
    arm: str | None = None  # of a split route
    tries: int = 0  # of the first models: their answers are checked before they pass
    at: Place | None = None  # the one replica that may be asked


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the upstream counted them; None is unknown, never zero."""

    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None  # a part of output_tokens
    written_tokens: int | None = None  # a part of input_tokens: what a cache took in


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that gave nothing to pass on."""

    model: str
    why: str
    usage: Usage | None = None  # what an answer that was not passed on cost; else nobody said
    overtaken: bool = False  # dropped under way: its upstream has read the question


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the answer went, once the last byte is out or the caller is gone."""

    model: str
    reason: str
    status: int
    attempts: int
    bytes_sent: int
    usage: Usage
    ended: str  # complete | hang-up | upstream-broken | refused | failed
    first_byte_ms: float | None  # from the parsed request to the upstream's first content
    total_ms: float
    failures: tuple[Failure, ...] = ()  # attempts before this one
    answer_id: str = ""  # under which the upstream keeps the answer
    upstream: str = ""  # that answered, and at which address
    base_url: str = ""
