# ruff: noqa: E501 - a template is one line
"""Ordinary short prompts full of rare pieces: acronyms, product names, surnames, places.

English that a person types all day holds words that no exam does. Without these the ood
head took a rare piece for a strange text ("Compare TCP and UDP"). The frames are plain;
the names in them are made by chance, so that a name as such is nothing to doubt.
"""

from __future__ import annotations

import random
from typing import Any

from distill.common import SEED
from distill.synthetic import FILL
from distill.synthetic import prompts as rows

_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxyz", "aeiouy"

FRAMES: tuple[tuple[str, str, str, str], ...] = (
    ("moderate", "qa", "computing", "Compare {ABC} and {ABC}"),
    ("moderate", "qa", "computing", "What is the difference between {ABC} and {ABC}?"),
    ("simple", "qa", "general", "What does {ABC} stand for?"),
    ("simple", "qa", "computing", "How do I install {Name} on {Name} {digit}?"),
    ("moderate", "qa", "computing", "{ABC} vs {ABC} for {Name}"),
    ("moderate", "qa", "computing", "My {Name} {ABC}{digit} says error {ABC}-{digit}{digit}, what should I do?"),
    ("moderate", "qa", "general", "pros and cons of {Name} compared with {Name}"),
    ("simple", "chitchat", "general", "hey {Name}, how was {Name}?"),
    ("simple", "drafting", "general", "Write a short email to {Name} {Name} about the {ABC} meeting"),
    ("simple", "rewrite", "general", "Make this shorter: {Name} will send the {ABC} form to {Name} on Monday."),
    ("simple", "summarization", "general", "Summarize: {Name} moved the {ABC} call to {digit} pm because {Name} is away."),
    ("simple", "translation", "general", "Translate to {language}: {Name} lives near {Name}"),
    ("simple", "extraction", "general", "Which company is named here: {Name} {Name} joined {Name} {ABC} in 201{digit}"),
    ("simple", "assistant", "general", "remind me to call {Name} about the {ABC}"),
    ("simple", "assistant", "general", "book a table at {Name} for {digit}"),
    ("simple", "qa", "general", "who is {Name} {Name}"),
    ("simple", "qa", "general", "where is {Name}, {Name}"),
    ("simple", "qa", "general", "Is {Name} open on Sundays?"),
    ("moderate", "planning", "general", "Plan a weekend in {Name} with {Name}"),
    ("moderate", "code", "computing", "how to parse {ABC} in {code}"),
    ("moderate", "code", "computing", "Convert this {ABC} query to {Name} in {code}"),
    ("moderate", "code", "computing", "Why does {word}_{word}() return {ABC} in my {code} script?"),
    ("moderate", "brainstorming", "general", "Give me five slogans for {Name}, a {ABC} company"),
    ("moderate", "drafting", "general", "Draft a cover letter for an {ABC} job at {Name}"),
    ("moderate", "qa", "finance", "Should I put my {ABC} into {Name} or an index fund?"),
    ("moderate", "qa", "medical", "Can I take {Name} together with {Name} for my {ABC}?"),
    ("moderate", "qa", "legal", "Does {ABC} apply to a shop in {Name}?"),
    ("moderate", "qa", "science", "Explain how {ABC} spectroscopy differs from {ABC}"),
    ("moderate", "qa", "humanities", "Why did the {Name} dynasty lose {Name}?"),
    ("moderate", "creative_writing", "humanities", "Write a poem about {Name} and the {animal} of {Name}"),
    ("simple", "rewrite", "general", "Fix the spelling: {Name} recieved teh {ABC} leter on Tusday"),
    ("simple", "rewrite", "general", "Put this in the past tense: {Name} sees {thing} and laughs"),
    ("simple", "rewrite", "general", "Shorten to one line: {Name} from {ABC} would like to know whether {Name} got {thing}."),
    ("simple", "extraction", "general", "List the dates in: the {ABC} meets on 3 May, {Name} on 9 June"),
    ("simple", "code", "computing", "What does {ABC} mean in a {code} stack trace?"),
    ("simple", "math", "math", "How many {ABC} are {n} dozen and {m}?"),
    ("moderate", "code", "computing", "Why is my {code} {ABC} handler called twice after I rename {word}?"),
    ("moderate", "code", "computing", "Write unit tests for a {code} function that checks {ABC} numbers"),
    ("moderate", "code", "computing", "Write a regular expression for codes like {ABC}-{digit}{digit}{digit}"),
    ("moderate", "code", "computing", "Refactor this {code} class so that {Name} can be replaced in tests"),
    ("moderate", "summarization", "general", "Write the minutes of the {ABC} call: {Name} wants {thing}, {Name} wants a later date, nothing was decided."),
    ("moderate", "critique", "general", "Give feedback on my pitch: {Name} is {thing} for {company}"),
    ("moderate", "brainstorming", "general", "What are good and bad sides of {Name} for {company}?"),
    ("complex", "code", "computing", "Two workers acknowledge the same {word} in our {code} {ABC} client. Find the race, prove the fix, keep throughput."),
    ("complex", "math", "math", "Compute the homology of {object} and decide whether its fundamental group is residually finite."),
    ("complex", "math", "math", "Classify {object} up to isomorphism when {n} divides its order, with a full proof."),
    ("complex", "reasoning", "science", "Derive {equation} from first principles and compare it with the {Name} model."),
    ("complex", "code", "computing", "Given n {ABC} intervals, count the pairs whose overlap is divisible by {m} in O(n log n) and prove the bound in {code}."),
    ("moderate", "creative_writing", "general", "Pretend to be {animal_} who runs {company} and introduce yourself to {Name}."),
    ("moderate", "creative_writing", "general", "You are now {Name}, an old sailor from {Name}. Tell me what you saw at {thing}."),
    ("moderate", "creative_writing", "general", "Speak as {who} would and tell me why {food} matters"),
    ("moderate", "creative_writing", "general", "Act the part of {who} and complain to {Name} about {thing}"),
    ("moderate", "creative_writing", "general", "If you were {who}, what would you say to the people of {Name} today?"),
    ("moderate", "creative_writing", "general", "Stay in character as {who}: how did you spend your first day in {country}?"),
    ("moderate", "creative_writing", "general", "Invent a dialogue between {who} and {Name} at {company}"),
    ("moderate", "creative_writing", "humanities", "Write a column for a local paper about {thing} and {Name}"),
    ("moderate", "reasoning", "general", "Roughly how many {animal}s live in {country}? Show the steps of your estimate."),
    ("moderate", "reasoning", "general", "Estimate how much {food} the people of {Name} eat in {n} years, without looking it up."),
    ("moderate", "reasoning", "general", "About how many times does {who} blink in {n} days? Give the reasoning behind the figure."),
    ("moderate", "reasoning", "general", "Guess how many {things} would fill {company}, and say what you assumed."),
    ("moderate", "reasoning", "science", "Work out to an order of magnitude what {n} tonnes of {things} take up, step by step."),
    ("moderate", "qa", "general", "How can I get better at {skill}?"),
    ("moderate", "qa", "general", "What helps against {worry} before {skill}?"),
    ("moderate", "qa", "general", "How does one deal with {worry} at {company}?"),
    ("moderate", "qa", "general", "What are the main problems of {company} today?"),
    ("moderate", "qa", "general", "Which ways of {skill} work best, and why?"),
    ("moderate", "qa", "humanities", "What would be different today if {Name} had never reached {country}?"),
)  # fmt: skip

_MORE = {
    "animal_": "a cat|a dog|a horse|a whale|an eagle|a frog|a bee|a tiger",
    "who": "a tired dragon|the captain of a lost ship|a detective in the rain|a medieval miller|a robot butler|"
    "my grandmother|a ghost who likes cooking|a retired wizard|a grumpy lighthouse keeper|the last dinosaur",
    "things": "marbles|bricks|tennis balls|paper clips|grains of rice|books|coins|balloons",
    "skill": "speaking in public|cooking for many|running|saving money|learning {language}|writing reports|"
    "sleeping|playing the piano|asking for a raise|working from a small flat|remembering names|drawing",
    "worry": "nerves|boredom|noise|a quarrel|doubt|too many messages|jealousy|a bad mood",
}  # fmt: skip


def name(rng: random.Random) -> str:
    """A word that could be a surname, a town or a product."""
    out = "".join(
        rng.choice(_CONSONANTS) + rng.choice(_VOWELS) + rng.choice(("", "", rng.choice("nrlstmdk")))
        for _ in range(rng.randint(1, 3))
    )
    return out.capitalize() if rng.random() < 0.85 else out


def prompts(count: int = 1500) -> list[dict[str, Any]]:
    """``count`` distinct rows in the schema of :mod:`distill.prepare`, all of the train split."""
    rng = random.Random(SEED + 7)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    fill = {key: value.split("|") for key, value in FILL.items()}
    fill |= {key: value.split("|") for key, value in _MORE.items()}
    fill["ABC"] = ["".join(rng.choices(letters, k=rng.randint(2, 5))) for _ in range(1500)]
    fill["Name"] = [name(rng) for _ in range(3000)]
    fill["digit"] = list("0123456789")
    return rows(count, FRAMES, fill, "ordinary")
