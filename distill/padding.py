"""Text that asks nothing, to put around prompts: the student learns to read past it.

A student that fits its rows well also learns by heart what *these* paddings look like, and
takes any other plain text for a story to reason about (LOG.md, section 15). So there are many
kinds: sentences made here, over a hundred million of them, statements out of passages of the
training prompts, few or many of either, and paragraphs that repeat themselves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

_WHO = (
    "the office", "our team", "the garden", "the town", "the library", "this page", "the road",
    "a neighbour", "the market", "the schedule", "the train", "the river", "the shop",
    "my cousin", "the museum", "the committee", "the kitchen", "the newsletter", "the caretaker",
    "her brother", "the gallery", "the old bridge", "the school", "a visitor", "the hotel",
    "the tram", "the harbour", "the post office", "somebody from the choir", "the printer",
    "their landlord", "the swimming pool", "the reading room", "the fountain", "a student",
    "the workshop", "the ferry", "the village", "the dentist", "the receptionist", "the cat",
    "the hallway", "the coffee machine", "one of the gardeners", "the mayor", "the cellar",
    "the car park", "everyone on the third row", "the theatre", "the tailor", "his aunt",
)  # fmt: skip
_DID = (
    "was quiet", "opened early", "has a new door", "stays the same", "looked fine",
    "was painted", "moved a little", "is near the park", "has been cleaned", "was mentioned",
    "closed at six", "was full of people", "is blue", "arrived late", "was kept as before",
    "will be announced", "had soup for lunch", "found an umbrella", "was repaired on Monday",
    "needs a new lamp", "waved from the balcony", "is usually empty", "smelled of paint",
    "took the stairs", "was closed for the holidays", "lent us a ladder", "sold the bicycle",
    "is made of brick", "was photographed", "left a note on the table", "sounds louder at night",
    "keeps the keys", "overlooks the square", "was moved upstairs", "forgot the tickets",
    "has three rooms and a terrace", "changed its opening hours", "brought flowers",
    "looks north", "is being renovated", "was built of wood", "will be back soon",
    "ordered more chairs", "turned the radio off", "was warm", "grew a few centimetres",
)  # fmt: skip
_WHEN = (
    "today", "last week", "as usual", "for some time", "in the afternoon", "after the rain",
    "without any change", "near the station", "according to the note", "and nobody minded",
    "since the spring", "before breakfast", "at half past nine", "on the way home",
    "during the concert", "for the second time", "on Wednesdays", "in the winter",
    "until the end of the month", "by the window", "with some help", "later than planned",
    "", "", "",
)  # fmt: skip
_THINGS = (
    "a bench", "a row of lime trees", "a box of postcards", "a green kettle", "a map of the coast",
    "a pair of gloves", "a wooden boat", "a stack of plates", "a small clock", "a poster",
    "a basket of apples", "a glass door", "a spare key", "a rug", "a telephone",
    "a shelf for boots", "a letter for the tenant", "a pot of basil", "an old piano", "a mirror",
)  # fmt: skip
_WHERE = (
    "next to the entrance", "under the stairs", "behind the counter", "on the ground floor",
    "at the end of the corridor", "opposite the church", "beside the lake", "in the attic",
    "on the left", "between the two houses", "in the yard", "above the fireplace",
    "at the corner", "in the waiting room", "along the path", "outside the gate",
)  # fmt: skip
_OFTEN = (
    "every morning", "twice a day", "once a week", "every twenty minutes", "four times a year",
    "on most evenings", "every other Sunday", "about once an hour", "each summer",
)  # fmt: skip
_DOES = (
    "comes by", "is emptied", "gets fresh bread", "rings", "is swept", "fills up", "runs",
    "sells fish", "meets for tea", "is inspected", "changes colour", "plays the same tune",
)  # fmt: skip
_SENTENCES = (
    "{who} {did} {when}", "{who} {did} {when}", "{who} {did} {when}",
    "{who} {did}, and {who2} {did2}",
    "{who} {did} before {who2} {did2}",
    "{who} {did} while {who2} {did2} {when}",
    "there is {thing} {where}",
    "{where} stands {thing}", "{where} there used to be {thing}",
    "{who} {does} {often}", "{often}, {who} {does}",
    "nobody noticed that {who} {did}",
    "somebody put {thing} {where} {when}",
    "as {who} said, {who2} {did} {when}",
    "{thing} and {thing2} are kept {where}",
    "{when2} {who} {did}",
)  # fmt: skip
_STATEMENT = re.compile(
    r"(?<=[.!] )(?:The|He|She|It|They|In|His|Her|Its|This|A|An|There|At|On|After|When|Most|Many|One"
    r"|Some|While|For|We|My|Our)\b[^.?!\n:]{15,160}\.(?= )"
)


def sentence(rng: random.Random) -> str:
    """One plain statement, made of the parts above."""
    who, who2 = rng.sample(_WHO, 2)
    did, did2 = rng.sample(_DID, 2)
    thing, thing2 = rng.sample(_THINGS, 2)
    text = rng.choice(_SENTENCES).format(
        who=who,
        who2=who2,
        did=did,
        did2=did2,
        thing=thing,
        thing2=thing2,
        when=rng.choice(_WHEN),
        when2=rng.choice(_WHEN[:10]),
        where=rng.choice(_WHERE),
        often=rng.choice(_OFTEN),
        does=rng.choice(_DOES),
    )
    text = text.strip()
    return text[0].upper() + text[1:] + "."


def neutral(rng: random.Random, characters: int, sentences: Sequence[str] = ()) -> str:
    """Text that asks nothing, of about that many characters.

    A third of it is made here, a third is drawn from ``sentences``, where there are any, and
    a third is of both; four in ten are a short paragraph again and again.
    """
    kind = rng.random()
    share = 0.0 if not sentences or kind < 0.33 else 1.0 if kind < 0.67 else 0.5

    def one() -> str:
        return rng.choice(sentences) if rng.random() < share else sentence(rng)

    paragraph = [one() for _ in range(rng.randint(2, 8))] if rng.random() < 0.4 else []
    out: list[str] = []
    size = 0
    while size < characters:
        out.append(paragraph[len(out) % len(paragraph)] if paragraph else one())
        size += len(out[-1]) + 1
    text = " ".join(out)
    return text[:characters] if rng.random() < 0.3 else text


def statements(texts: Iterable[str], count: int = 12_000) -> tuple[str, ...]:
    """Up to ``count`` plain statements out of passages that some prompts carry."""
    found: dict[str, None] = {}
    for text in texts:
        if len(text) > 300:
            found |= dict.fromkeys(_STATEMENT.findall(text)[:6])
        if len(found) >= count:
            break
    return tuple(found)
