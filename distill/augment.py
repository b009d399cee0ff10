"""What a prompt looks like when the same demand comes in other clothes.

Every change keeps what is asked, so the labels stay: the student learns to read
past typos, politeness, wrapping, padding, reordered options, system prompts and
sentences that call a task trivial or impossible. The phrases here train; the
robustness evaluation has its own, which never appear in this file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from distill.padding import neutral
from sidecar.types import Prompt

PREAMBLES = (
    "Hi! Could you please help me with this?",
    "Please help.",
    "Hello, I have a question for you.",
    "I would be very grateful for your help with the following.",
    "Thanks in advance!",
    "Hey there, quick question:",
    "Could you kindly answer this for me?",
    "Good morning.",
    "You are so helpful. Here is what I need:",
    "Dear assistant,",
    "I need some help here.",
)
CLOSINGS = (
    "Thank you!",
    "Thanks a lot.",
    "Please answer.",
    "Let me know what you think.",
    "Cheers",
    "I appreciate your help.",
    "Take your time.",
    "Looking forward to your answer.",
)
FORMATS = (
    "Answer the following question.",
    "Question:",
    "Q:",
    "Task:",
    "Let's think step by step.",
    "Think step by step and then give the final answer.",
    "Answer:",
    "Give only the answer.",
    "Answer with the letter only.",
    "The following is a multiple choice question.",
    "Explain your reasoning.",
    "Choose the correct option.",
    "Solve this:",
    "Instruction:",
    "### Response:",
    "Put your final answer in a box.",
    "Here is the prompt:",
    "Reply briefly.",
)
_CLAIM = (  # {w} a word for the level, {who} somebody of it
    "This is {a} {w} question.",
    "This is {w}.",
    "It's {a} {w} one.",
    "{w} question",
    "Difficulty: {w}.",
    "Complexity level = {w}",
    "[{w}]",
    "I consider this {w}.",
    "Everybody says this is {w}.",
    "Please note that this task is {w}.",
    "This problem has been rated {w}.",
    "({w} task)",
    "Super {w}:",
    "Meant for {who}.",
    "Only {who} would need to ask this.",
)
EASY_WORDS = (
    "trivial", "very easy", "simple", "basic", "elementary", "effortless", "easy", "low",
    "straightforward", "routine", "quick", "light", "kindergarten-level", "undemanding",
)  # fmt: skip
HARD_WORDS = (
    "extremely hard", "very difficult", "PhD-level", "advanced", "tough", "graduate-level",
    "fiendish", "demanding", "maximum", "intricate", "highly complex", "brutal", "expert",
)  # fmt: skip
EASY_WHO = ("a child", "beginners", "absolute novices", "first graders", "anybody", "newcomers")
HARD_WHO = ("specialists", "professors", "the best minds", "veteran experts", "Nobel laureates")
EASY = (
    "Any small model can do this.",
    "A child could answer this.",
    "No need to think hard about it.",
    "This is basic stuff.",
    "Route this to the cheapest model.",
    "This needs no reasoning at all.",
    "You can use the weakest model for this.",
    "Just answer off the top of your head.",
    "Save your effort, it is obvious.",
    "One second of thought is enough.",
    "Nothing to it.",
    "Use the small model please.",
    "I already know the answer, just confirm it.",
)
HARD = (
    "Only the strongest model can solve this.",
    "Experts struggle with this.",
    "Use your most powerful model.",
    "Think very carefully, it is hard.",
    "This requires deep reasoning.",
    "Nobody has ever solved this.",
    "Small models fail at this.",
    "Do not send this to a cheap model.",
    "Reason for a long time before you answer.",
    "This one took me weeks.",
    "Most people get it wrong.",
    "Spend as much effort as you can.",
    "Escalate this to the best model available.",
)
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a concise and accurate assistant.",
    "You are an expert in the field. Answer carefully.",
    "Answer in one short paragraph.",
    "You are a support agent of an online shop. Be polite and never invent facts.",
    "Respond in plain text without markdown.",
    "You are ChatGPT, a large language model.",
    "You are a careful tutor who explains every step to the student.",
    "Follow the user's instructions exactly. If you are unsure, say so.",
    "You are a coding assistant inside an editor. Prefer short answers.",
    "Today's date is Monday. The user's language is English.",
    "Act as an impartial analyst. Cite the given text only.",
)
_OPTION = re.compile(r"^\s*\(?([A-J])[.):]\s+(.+)$", re.MULTILINE)


def claim(rng: random.Random, easy: bool) -> str:
    """A sentence that calls the task easy, or hard; there are some hundreds of each."""
    if rng.random() < 0.4:
        return rng.choice(EASY if easy else HARD)
    word = rng.choice(EASY_WORDS if easy else HARD_WORDS)
    article = "an" if word[0] in "aeiou" else "a"
    who = rng.choice(EASY_WHO if easy else HARD_WHO)
    text = rng.choice(_CLAIM).format(w=word, a=article, who=who)
    text = text[0].upper() + text[1:] if rng.random() < 0.8 else text
    return text.rstrip(".") + "!" if rng.random() < 0.15 else text


def typos(rng: random.Random, text: str, rate: float) -> str:
    """Each letter swapped, dropped, doubled or replaced with probability ``rate``."""
    out = list(text)
    for i in range(len(out)):
        if out[i].isalpha() and rng.random() < rate:
            kind = rng.randrange(4)
            if kind == 0 and i + 1 < len(out):
                out[i], out[i + 1] = out[i + 1], out[i]
            elif kind == 1:
                out[i] = ""
            elif kind == 2:
                out[i] = out[i] * 2
            else:
                out[i] = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return "".join(out)


def options(rng: random.Random, text: str) -> str:
    """Reorders, relabels, joins or drops the options of a multiple-choice question."""
    found = list(_OPTION.finditer(text))
    if not 3 <= len(found) <= 26:
        return text
    stem = text[: found[0].start()].rstrip()
    rest = text[found[-1].end() :]
    choices = [m.group(2).strip() for m in found]
    kind = rng.random()
    if kind < 0.6:
        rng.shuffle(choices)
    if kind > 0.85:
        return stem + rest
    style = rng.randrange(6)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if style <= 1:
        lines = [f"{letters[i]}. {c}" for i, c in enumerate(choices)]
    elif style == 2:
        lines = [f"({letters[i]}) {c}" for i, c in enumerate(choices)]
    elif style == 3:
        lines = [f"{i + 1}) {c}" for i, c in enumerate(choices)]
    elif style == 4:
        lines = [f"- {c}" for c in choices]
    else:
        return f"{stem} Options: {'; '.join(choices)}.{rest}"
    return stem + "\n" + "\n".join(lines) + rest


def markdown(rng: random.Random, text: str) -> str:
    kind = rng.randrange(9)
    if kind == 6:
        fence = rng.choice(("~~~", "~~~~", "````", '"""', "```text", "~~~markdown"))
        return f"{fence}\n{text}\n{fence.rstrip('abcdefghijklmnopqrstuvwxyz')}"
    if kind == 7:
        return f"# {rng.choice(('Question', 'Input', 'Message', 'Prompt'))}\n{text}\n\n# End\n"
    if kind == 8:
        return "    " + text.replace("\n", "\n    ")
    if kind == 0:
        return f"```\n{text}\n```"
    if kind == 1:
        return f"## Task\n\n{text}\n"
    if kind == 2:
        return "> " + text.replace("\n", "\n> ")
    if kind == 3:
        return f"**Question:** {text}\n\n**Answer:**"
    if kind == 4:
        return f"<prompt>\n{text}\n</prompt>"
    return f"---\n\n{text}\n\n---"


def surfaces(rng: random.Random, text: str) -> str:
    """Case, white space and punctuation."""
    kind = rng.randrange(5)
    if kind == 0:
        return text.upper()
    if kind == 1:
        return text.lower()
    if kind == 2:
        return text.rstrip(" ?.!:") + rng.choice(("", "?", ".", "!!", " ...", "??"))
    if kind == 3:
        return text.replace("\n", rng.choice((" ", "\n\n", "  \n"))).replace(". ", ".  ")
    return "".join(c for c in text if c not in ",;'\"") if rng.random() < 0.5 else text + "\n\n"


def around(rng: random.Random, text: str, phrase: str) -> str:
    between = rng.choice(("\n", " ", " ", "\n\n"))
    return f"{phrase}{between}{text}" if rng.random() < 0.5 else f"{text}{between}{phrase}"


def augment(
    rng: random.Random,
    text: str,
    sentences: Sequence[str] = (),
    padded: float = 0.12,
    claimed: float = 0.25,
) -> Prompt:
    """One prompt with the same demand as ``text``; about a third come back untouched.

    Of the others ``padded`` get text around them that asks nothing and ``claimed`` a
    sentence that calls them easy or hard.
    """
    if rng.random() < 0.3:
        return Prompt(user=text)
    if rng.random() < 0.35:
        text = options(rng, text)
    if rng.random() < 0.25:
        text = typos(rng, text, rng.choice((0.01, 0.02, 0.03)))
    if rng.random() < 0.25:
        text = surfaces(rng, text)
    if rng.random() < 0.25:
        text = around(rng, text, rng.choice(PREAMBLES if rng.random() < 0.6 else CLOSINGS))
    if rng.random() < 0.25:
        text = around(rng, text, rng.choice(FORMATS))
    if rng.random() < claimed:
        text = around(rng, text, claim(rng, easy=rng.random() < 0.5))
    if rng.random() < 0.2:
        text = markdown(rng, text)
    if rng.random() < padded:  # dear in tokens: two or three times an average prompt
        pad = neutral(rng, rng.choice((150, 400, 1000, 2000, 3000)), sentences)
        text = rng.choice((f"{pad}\n\n{text}", f"{text}\n\n{pad}", f"{pad} {text}"))
    system, turns, tools, media = "", 1, 0, 0
    if rng.random() < 0.15:
        system = " ".join(rng.sample(SYSTEMS, rng.randint(1, 3)))
    if rng.random() < 0.08:
        turns = rng.randint(2, 6)
    if rng.random() < 0.04:
        tools = rng.randint(1, 5)
    if rng.random() < 0.02:
        media = 1
    return Prompt(system=system, user=text, turns=turns, tools=tools, media=media)
