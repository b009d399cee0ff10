"""What a prompt looks like when the same demand comes in other clothes.

Every change keeps what is asked, so the labels stay: the student learns to read
past typos, politeness, wrapping, padding, reordered options, system prompts and
sentences that call a task trivial or impossible. The phrases here train; the
robustness evaluation has its own, which never appear in this file.
"""

from __future__ import annotations

import random
import re

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
EASY = (
    "This is a trivial question.",
    "This is very easy.",
    "Any small model can do this.",
    "It's a simple one.",
    "A child could answer this.",
    "No need to think hard about it.",
    "This is basic stuff.",
    "Route this to the cheapest model.",
    "easy question",
    "Difficulty: low.",
    "This needs no reasoning at all.",
    "Super simple:",
)
HARD = (
    "This is an extremely hard question.",
    "Only the strongest model can solve this.",
    "This is a PhD-level problem.",
    "Very difficult!",
    "Experts struggle with this.",
    "Use your most powerful model.",
    "Difficulty: maximum.",
    "Think very carefully, it is hard.",
    "This requires deep reasoning.",
    "Nobody has ever solved this.",
    "advanced graduate topic",
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
_SUBJECTS = (
    "the office",
    "our team",
    "the garden",
    "the town",
    "the library",
    "this page",
    "the weather",
    "the road",
    "a neighbour",
    "the market",
    "the schedule",
    "the train",
    "the river",
    "the shop",
    "my cousin",
    "the museum",
    "the committee",
    "the morning",
    "the kitchen",
    "the newsletter",
)
_VERBS = (
    "was quiet",
    "opened early",
    "has a new door",
    "stays the same",
    "looked fine",
    "was painted",
    "moved a little",
    "is near the park",
    "has been cleaned",
    "was mentioned",
    "closed at six",
    "was full of people",
    "is blue",
    "arrived late",
    "was kept as before",
    "will be announced",
)
_TAILS = (
    "today",
    "last week",
    "as usual",
    "for some time",
    "in the afternoon",
    "after the rain",
    "without any change",
    "near the station",
    "according to the note",
    "and nobody minded",
    "",
)
_OPTION = re.compile(r"^\s*\(?([A-J])[.):]\s+(.+)$", re.MULTILINE)


def neutral(rng: random.Random, characters: int) -> str:
    """Text that asks nothing, of about that many characters."""
    out: list[str] = []
    size = 0
    while size < characters:
        words = f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_TAILS)}".strip()
        out.append(words[0].upper() + words[1:] + ".")
        size += len(out[-1]) + 1
    return " ".join(out)


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
    kind = rng.randrange(6)
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


def around(rng: random.Random, text: str, phrases: tuple[str, ...]) -> str:
    phrase = rng.choice(phrases)
    return f"{phrase}\n{text}" if rng.random() < 0.5 else f"{text} {phrase}"


def augment(rng: random.Random, text: str) -> Prompt:
    """One prompt with the same demand as ``text``; about a third come back untouched."""
    if rng.random() < 0.3:
        return Prompt(user=text)
    if rng.random() < 0.35:
        text = options(rng, text)
    if rng.random() < 0.2:
        text = typos(rng, text, rng.choice((0.01, 0.02, 0.03)))
    if rng.random() < 0.25:
        text = surfaces(rng, text)
    if rng.random() < 0.25:
        text = around(rng, text, PREAMBLES if rng.random() < 0.6 else CLOSINGS)
    if rng.random() < 0.25:
        text = around(rng, text, FORMATS)
    if rng.random() < 0.2:
        text = around(rng, text, EASY if rng.random() < 0.5 else HARD)
    if rng.random() < 0.15:
        text = markdown(rng, text)
    if rng.random() < 0.05:  # dear in tokens, so rare
        pad = neutral(rng, rng.choice((200, 600, 2000, 3000)))
        text = f"{pad}\n\n{text}" if rng.random() < 0.5 else f"{text}\n\n{pad}"
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


_SCRIPTS = (
    (0x0400, 0x044F),
    (0x0391, 0x03C9),
    (0x05D0, 0x05EA),
    (0x0621, 0x064A),
    (0x0905, 0x0939),
    (0x0E01, 0x0E2E),
    (0x3041, 0x3096),
    (0x30A1, 0x30FA),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
    (0x1F300, 0x1F64F),
    (0x2190, 0x22FF),
)
_SOUNDS = (
    "ka ko ki nu to mi ra sha vel dor zan ö ü ä ß ñ ç é è ê å ø ł ż ğ ı ő ų ija ente keit lich "
    "schaft che gli ción ão eux ette ique ment ando iamo ung"
)
_SYLLABLES = _SOUNDS.split()
# Common words of other languages, put together by chance: no sentence, but its letters.
_TONGUES = tuple(
    words.split()
    for words in (
        "el la los una que para con por cómo está muy pero también casa tiempo quiero puedes "
        "explicar cuál es hacer mañana gracias mundo agua ciudad trabajo años sobre entre hola",
        "le la les une que pour avec est dans sur mais aussi maison temps je veux vous pouvez "
        "expliquer quelle faire demain merci monde eau ville travail année entre bonjour être",
        "der die das und ist nicht ein eine mit für auf wie kann ich du wir haus zeit möchte bitte "
        "erklären welche machen morgen danke welt wasser stadt arbeit jahr zwischen über hallo",
        "il lo gli una che per con come è molto ma anche casa tempo voglio puoi spiegare quale "
        "fare domani grazie mondo acqua città lavoro anno sopra tra ciao perché essere",
        "o os uma que para com como está muito mas também casa tempo quero pode explicar qual "
        "fazer amanhã obrigado mundo água cidade trabalho ano sobre entre olá você não",
        "het een van en is niet met voor op hoe kan ik je wij huis tijd wil graag uitleggen welke "
        "maken morgen dank wereld water stad werk jaar tussen over hallo waarom zijn",
        "nie jest to że na do jak bardzo ale też dom czas chcę możesz wyjaśnić który robić jutro "
        "dziękuję świat woda miasto praca rok między nad cześć dlaczego być się",
        "bir ve bu için ile çok ama da ev zaman istiyorum misin açıklar hangi yapmak yarın "
        "teşekkürler dünya su şehir iş yıl arasında üzerinde merhaba neden değil olan",
        "och det att en är inte med för på hur kan jag du vi hus tid vill gärna förklara vilken "
        "göra imorgon tack värld vatten stad arbete år mellan över hej varför vara",
        "и не что как это на с по для но тоже дом время хочу можешь объяснить какой делать завтра "
        "спасибо мир вода город работа год между над привет почему быть погода расскажи",
    )
)


def strange(rng: random.Random) -> Prompt:
    """Text unlike the training data: other scripts, invented words, noise, encodings."""
    kind = rng.randrange(8)
    length = rng.choice((5, 20, 60, 150, 400, 1000))
    if kind <= 1:
        low, high = rng.choice(_SCRIPTS)
        words = []
        while sum(map(len, words)) < length:
            word = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 10)))
            words.append(word + rng.choice(("", "", "", "", ",", ".", "?")))
        text = rng.choice(("", " ", " ", " ")).join(words)
    elif kind == 2:
        tongue = rng.choice(_TONGUES)
        words = [rng.choice(tongue) for _ in range(length // 6 + 3)]
        text = " ".join(words).capitalize() + rng.choice(".?!")
    elif kind == 3:
        words = (
            "".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3))) for _ in range(length // 5 + 2)
        )
        text = " ".join(words).capitalize() + rng.choice(".?!")
    elif kind == 4:
        text = "".join(chr(rng.randint(33, 126)) for _ in range(length))
    elif kind == 5:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        text = "".join(rng.choices(alphabet, k=length)) + "=="
    elif kind == 6:
        text = rng.choice(("0123456789abcdef", "01", "0123456789", "!?.,;:-_", "aeiou "))
        text = "".join(rng.choices(text, k=length))
    else:
        piece = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(1, 9)))
        text = (piece + rng.choice(("", " ", "\n"))) * (length // len(piece) + 1)
    return Prompt(user=text)
