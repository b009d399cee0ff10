"""Sentences that speak of the router, of models or of how hard a prompt is, and of nothing else.

"This is extremely hard, use your best model": whoever writes that asks for a dearer
model, whatever stands beside it. The encoder was trained to read past such words and is
moved by many of them all the same, so they are left out of what it reads (the request
that goes up keeps them): the words about the subject say how hard it is.

A sentence is such a claim where next to every word of it is of a vocabulary without a
subject: small words, words for the prompt itself, words for difficulty, effort and models,
with at least one of these. "This integral is hard" has a subject and stays. Where nothing
else was said, all of it is read. A look at the set of words comes first, so a text without
any of those costs a few microseconds; the rest is linear in a text that is bounded.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# One of these speaks of models, of routing or of difficulty whatever else is said.
_PLAIN: Final = _words(
    "router routers routing route reroute dispatcher llm llms gpt gpt4 gpt5 claude gemini opus "
    "model models escalate escalation downgrade upgrade brainer overthink difficulty difficult "
    "hardest toughest trickiest easiest fiendish fiendishly unsolvable olympiad phd doctoral "
    "postdoctoral kindergarten toddler toddlers trivial trivially effortless challenging "
    "complicated intricate tricky tough brutal brutally nontrivial genius geniuses "
    "undemanding easy complexity extremely"
)
# These do where the sentence points at the prompt, at the reader, or says two of them.
_HINTS: Final = _words(
    "hard harder complex simple simplest simpler basic basics elementary straightforward obvious "
    "easier easily advanced expert experts professor professors scientist scientists specialist "
    "specialists beginner beginners novice novices newbie child children kid kids grader graders "
    "student students graduate undergraduate research frontier flagship premium strongest stronger "
    "strong smartest smarter smart biggest bigger largest larger best powerful capable cheapest "
    "cheaper cheap weakest weaker weak smallest smaller small tiniest tiny mini lite tier "
    "intelligence intelligent brain brains brainpower reasoning reason thinking think thought "
    "careful carefully effort compute attention struggle struggles stump stumps stumped defeat "
    "defeats defeated fail fails failed solve solves solved ace aces wrong challenge challenges "
    "puzzle demanding impossible unsolved weeks minds demands requires "
    "level grade stuff nothing nobody highest lowest maximum minimum max low high priority rated "
    "killer nasty terrible monster hellish insane insanely ridiculous ridiculously quick "
    "instantly routine mindless cake"
)
# What points at the prompt itself, or at whoever answers it.
_HERE: Final = _words(
    "this that it its it's this's these following below above here question questions problem "
    "problems task tasks prompt request query exercise one ones you your you'll you'd"
)
# Words that say nothing of a subject.
_SMALL: Final = _words(
    "a an the and or but nor so if then than as at by for from in into of off on onto to up with "
    "without within about over under after before ahead beyond around until i i'm i've me my mine "
    "we us our they them their he she his her somebody someone anybody anyone everybody everyone "
    "no none not never ever always often usually only just even still yet already also too very "
    "really quite rather pretty super truly honestly seriously simply highly utterly completely "
    "absolutely deeply deep long much many more most less least few all any some every each both "
    "such same other others another else enough am is are was were be been being do does did done "
    "don don't doesn't didn't won't can't cannot cant isn't aren't wasn't ain't haven't hasn't can "
    "could may might must should would will shall need needs needed have has had having get gets "
    "got getting give gives given take takes took taken taking make makes made let lets let's go "
    "goes want wants please kindly thanks thank note notice warning caution attention hint fyi ps "
    "nb important reminder everything anything something thing things way ways time times lot lots "
    "bit far near who what which when where why how there now again once twice first last final "
    "next people person folks team use uses using used send sent sends choose choosing pick select "
    "assign call calls ask asks asked handle handles answer answers answering answered respond "
    "response reply know knows known say says said believe consider considered think find found "
    "seem seems look looks like meant mean means able likely available possible possibly "
    "spend spare save waste try tried tries trying correctly right proper properly work works "
    "working worked deal class type kind sort full fully world ok okay warning stop skip put bring "
    "good great better bad worse worst own rest head top power powers second days hours "
    "months years light piece"
)
_ABOUT: Final = _PLAIN | _HINTS
_EMPTY: Final = _ABOUT | _HERE | _SMALL
_SPEAK: Final = frozenset(word.encode() for word in _ABOUT)
_MOST_WORDS: Final = 40  # of a claim
_SUBJECT: Final = 6  # one word in so many may be of no vocabulary, and one of four or more

# Words that begin a sentence where somebody left out the full stop before it.
_OPENERS: Final = (
    "A|An|The|What|Which|Who|Whose|How|Why|When|Where|Is|Are|Was|Were|Do|Does|Did|Can|Could|Should|"
    "If|In|On|At|For|From|To|Let|Given|Suppose|Consider|Find|Write|Solve|Compute|Calculate|Explain|"
    "Describe|Translate|Summari[sz]e|Prove|Show|Determine|Name|List|Identify|Choose|Complete|"
    "Question|Q|You|I|My|It|There|This|These|Give|Tell|Create|Make|Please"
)
_END: Final = re.compile(r"([.!?;]+(?=\s|$)|[\n()\[\]])")
# a colon, a comma, a dash, or such a word after one in small letters: a claim may stand before it
_FIRST: Final = re.compile(rf"[:,]\s|\s[-\u2013\u2014]+\s|(?<=[a-z0-9])\s(?=(?:{_OPENERS})\b)")
_LAST: Final = re.compile(r".*([:,]\s|\s[-\u2013\u2014]+\s)", re.DOTALL)
_CUTS: Final = 4  # of a sentence that are looked at
_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*|[\^\\{}|_<>+*/$%#@&]")
# bytes of a text as words: small letters, and blanks for what stands between words
_LOOSE: Final = bytes(b if chr(b).isalnum() or b > 127 else 32 for b in bytes(range(256)).lower())
_HIDDEN: Final = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]+")
_ASKS: Final = ("can you ", "could you ", "would you ", "will you ", "please ")
_NAMES: Final = ("you are", "you're", "act as", "i am", "i'm")  # who somebody is: no claim


def unclaimed(text: str) -> tuple[str, int]:
    """``text`` without its claims, and how many those were; as it is where it is all claim.

    Never raises; time is linear in ``text``, which callers bound.
    """
    if not _speaks(text):
        return text, 0
    kept: list[str] = []
    found = 0
    pieces = _END.split(text)
    pieces.append("")
    for said, end in zip(pieces[::2], pieces[1::2], strict=True):
        rest = _rest(said, end) if _speaks(said) else said
        if rest is said:
            kept += (said, end)
            continue
        found += 1
        if rest:
            kept += (" ", rest, end)
            continue
        if kept and kept[-1] in "([":
            kept.pop()
        kept.append("\n" if end == "\n" else " ")
    rest = "".join(kept)
    if not found or not any(map(str.isalnum, rest)):
        return text, 0
    return rest, found


def _speaks(said: str) -> bool:
    """Whether any word of it could make it a claim."""
    if not said.isascii():
        said = _HIDDEN.sub("", said)
    return not _SPEAK.isdisjoint(said.encode("utf-8", "replace").translate(_LOOSE).split())


def _rest(said: str, end: str) -> str:
    """A sentence without its claim: empty where it is one; itself, the same object, where
    there is none in it."""
    asking = "?" in end
    if _claims(said, asking=asking, least=1 if end in ")]" else 2):
        return ""
    first = _WORD.search(said)
    begins = first is not None and first[0].lower() in _EMPTY  # as whatever is one before a cut
    for cut in islice(_FIRST.finditer(said) if begins else (), _CUTS):
        mark = cut[0][0]
        least = 2 if mark == ":" else 4 if mark == "," else 3
        if _is_empty(said[: cut.start()]) and _claims(said[: cut.start()], least=least):
            return said[cut.end() :]
    last = None if asking else _LAST.match(said)
    if last is None or not _is_empty(said[last.end() :]):
        return said
    return said[: last.start(1)] if _claims(said[last.end() :], least=4) else said


def _claims(said: str, *, asking: bool = False, least: int) -> bool:
    """Whether a sentence, or a part of one, is a claim; of ``least`` words or more."""
    if not said.isascii():
        said = _HIDDEN.sub("", said).replace("\u2019", "'")
    said = said.lower().strip(" \t\"'*_#>-")
    if (asking and not said.startswith(_ASKS)) or said.startswith(_NAMES):
        return False
    words = _WORD.findall(said)
    if not least <= len(words) <= _MOST_WORDS:
        return False
    subject = sum(word not in _EMPTY and not word.isdigit() for word in words)
    if subject > (max(1, len(words) // _SUBJECT) if len(words) > 3 else 0):
        return False
    if not _PLAIN.isdisjoint(words):
        return True
    hints = len(_HINTS.intersection(words))
    # one or two words that say no more than "hard" may be an answer to choose from
    return len(words) > 2 and (hints > 1 or (hints > 0 and not _HERE.isdisjoint(words)))


def _is_empty(said: str) -> bool:
    """Whether no word of it is of a subject."""
    return all(word in _EMPTY for word in _WORD.findall(said.lower()))


__all__ = ["unclaimed"]
