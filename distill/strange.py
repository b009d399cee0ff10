"""Text unlike the training data, written by a program: what the ood head learns to doubt.

Other scripts, common words of other languages put together by chance, invented words,
noise, encodings and repetition. No sentence of any corpus is in here.
"""

from __future__ import annotations

import random

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
