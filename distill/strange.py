"""Text unlike the training data, written by a program: what the ood head learns to doubt.

Other scripts, other languages (:mod:`distill.tongues`), invented words, noise, encodings
and repetition. No sentence of any corpus is in here.
"""

from __future__ import annotations

import random

from distill.tongues import TONGUES, sentence
from sidecar.types import Prompt

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
_COMMON = (  # Russian, put together by chance: no sentence, but its letters
    "и не что как это на с по для но тоже дом время хочу можешь объяснить какой делать завтра "
    "спасибо мир вода город работа год между над привет почему быть погода расскажи"
)
_RUSSIAN = _COMMON.split()


def strange(rng: random.Random) -> Prompt:
    """Text unlike the training data: other scripts, invented words, noise, encodings."""
    kind = rng.randrange(10)
    length = rng.choice((5, 20, 60, 150, 400, 1000))
    if kind <= 1:
        low, high = rng.choice(_SCRIPTS)
        words = []
        while sum(map(len, words)) < length:
            word = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 10)))
            words.append(word + rng.choice(("", "", "", "", ",", ".", "?")))
        text = rng.choice(("", " ", " ", " ")).join(words)
    elif kind == 2:
        text = " ".join(rng.choices(_RUSSIAN, k=length // 6 + 3)) + rng.choice(".?!")
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
    elif kind in (7, 8):
        text = sentence(rng, rng.choice(TONGUES), rng.choice((25, 50, 100, 200, 500)))
    elif kind == 6:
        text = rng.choice(("0123456789abcdef", "01", "0123456789", "!?.,;:-_", "aeiou "))
        text = "".join(rng.choices(text, k=length))
    else:
        piece = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(1, 9)))
        text = (piece + rng.choice(("", " ", "\n"))) * (length // len(piece) + 1)
    return Prompt(user=text)
