"""Sentences of other languages of the Latin alphabet, put together by a program.

The encoder's vocabulary is English, so these fall into pieces that English has too; what
tells them apart is which pieces stand together. A list of whole words would be learned by
heart, so only function words are whole: content words are stems with endings, any stem
with any ending, some stems invented. No sentence of any corpus is in here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tongue:
    """One language: ``function`` words, ``stems`` and the ``endings`` they take."""

    function: tuple[str, ...]
    stems: tuple[str, ...]
    endings: tuple[str, ...]


def _tongue(function: str, stems: str, endings: str) -> Tongue:
    return Tongue(tuple(function.split()), tuple(stems.split()), tuple(endings.split()))


TONGUES = (
    _tongue(  # Spanish
        "el la los las un una unos de del al que y o en con por para sin sobre entre hasta "
        "desde es son está están fue ser hay se me te lo le su sus mi tu no sí muy más menos "
        "pero como cómo cuál cuándo dónde qué quién porque si ya también cada todo esta este "
        "eso cuando puede debe hacer tiene hola gracias favor",
        "trabaj empres situ inform pregunt explic resum escrib habl compr pag client product "
        "sistem program ecu proces gobiern historic problem respuest diferenc tecn cas ciudad "
        "correct result mensaj pedid viaj receta cocin estudi aprend ejercici",
        "o a os as ar ado ada ando ción ciones mente dad ista amos aba ó ía ible ez al ales e es",
    ),
    _tongue(  # French
        "le la les un une des du de au aux que qui quoi et ou où en dans avec par pour sans sur "
        "entre chez est sont était être avoir a ont il elle on nous vous je tu ils se ne pas "
        "plus très mais comme comment quand quel quelle pourquoi si déjà aussi ce cette ces mon "
        "votre leur peut doit faire c'est d'un l'on bonjour merci",
        "travaill entrepris situ inform question expliqu résum écri parl achet pay client "
        "produi systèm programm équa process gouvern histori problèm répons différen techn mais "
        "ville correct résult messag command voyag recett cuisin étudi appren exerci",
        "e es er é ée ant tion tions ment eur euse ique ité ais ait ons ez able aux elle ons",
    ),
    _tongue(  # German
        "der die das den dem des ein eine einen einem einer und oder aber nicht kein mit von zu "
        "zum zur bei nach aus auf für über unter zwischen durch ohne ist sind war wird werden "
        "hat haben ich du er sie es wir ihr mein dein sich wie was wer wann warum welche wo "
        "wenn dass als auch noch nur schon sehr kann muss soll bitte danke hallo",
        "Arbeit Gesell Schreib Erklär Frag Antwort Rechn Steuer Vertrag Wohn Kund Produkt "
        "System Verfahr Beispiel Unterschied Ergebnis Geschicht Regier Bewerb Entwickl Lös "
        "Beding Zeit kauf zahl sprech lern koch reis prüf berechn übersetz versteh",
        "en er e ung ungen heit keit schaft lich isch t te ten est bar los ig igkeit es s zeug",
    ),
    _tongue(  # Italian
        "il lo la i gli le un uno una di del della dei al alla che e o in con per da su tra fra "
        "senza è sono era essere ha hanno ho io tu lui lei noi voi si non più molto ma come "
        "quando quale quanto dove chi perché se già anche questo questa ogni tutto può deve "
        "fare ciao grazie favore",
        "lavor impres situ inform domand spieg riassum scriv parl compr pag client prodott "
        "sistem programm equa process govern stori problem rispost differen tecnic cas citt "
        "corrett risultat messagg viagg ricett cucin stud impar eserciz",
        "o a i e are ato ata ando zione zioni mente ità ista iamo ava ò ibile ale ali etto",
    ),
    _tongue(  # Portuguese
        "o a os as um uma de do da dos das ao que e ou em no na com por para sem sobre entre "
        "até é são foi ser está tem têm eu tu ele ela nós você eles se não sim mais muito mas "
        "como quando qual quem onde porque já também este esta isso cada todo pode deve fazer "
        "olá obrigado",
        "trabalh empres situ inform pergunt explic resum escrev fal compr pag client produt "
        "sistem program equa process govern histór problem respost diferenç técnic cas cidad "
        "corret result mensag viag receit cozinh estud aprend exercíci",
        "o a os as ar ado ada ando ção ções mente dade ista amos ava ou ível ez al ais inho",
    ),
    _tongue(  # Dutch
        "de het een van en of maar niet geen met voor op in aan bij naar uit over onder tussen "
        "door zonder is zijn was wordt worden heeft hebben ik jij hij zij wij jullie mijn jouw "
        "zich hoe wat wie wanneer waarom welke waar als dat dan ook nog al zeer kan moet zal "
        "graag dank hallo",
        "werk bedrijf schrijf verklar vraag antwoord reken belast contract won klant product "
        "systeem voorbeeld verschil uitkomst geschieden regering oploss voorwaard tijd koop "
        "betaal spreek leer kook reis vertal",
        "en er e ing ingen heid schap lijk isch t te ten baar loos ig tje tjes s",
    ),
    _tongue(  # Polish
        "i w z na do od po za przez dla bez nie tak jest są był być ma mają ja ty on ona my wy "
        "się to ten ta co kto jak kiedy gdzie dlaczego który która czy ale lub już też bardzo "
        "może musi proszę dziękuję cześć",
        "prac firm sytuac inform pytan wyjaśn napis mów kupow płac klient produkt system "
        "program równan proces rząd histor problem odpowied różnic techn dom miast wynik "
        "wiadomoś podróż przepis gotow ucz ćwicz",
        "a y ę ą ego emu ami ach ować uje ość ości nie ny na ne ski ska owy",
    ),
    _tongue(  # Turkish
        "ve bir bu şu o ile için gibi kadar sonra önce ama fakat veya değil var yok mı mi mu ne "
        "nasıl neden nerede kim hangi her çok daha en ben sen biz siz onlar olan olarak lütfen "
        "merhaba teşekkürler",
        "çalış şirket durum bilgi soru açıkla yaz konuş al öde müşteri ürün sistem program "
        "denklem süreç hükümet tarih sorun cevap fark teknik ev şehir sonuç mesaj yolculuk "
        "tarif pişir öğren alıştırma",
        "lar ler ın in da de dan den a e ı i yor mak mek dı di lık lik ma me abilir sız",
    ),
    _tongue(  # Swedish
        "och det att en ett den är var inte med för på av till från om som har hade kan ska "
        "vill jag du han hon vi ni de sig hur vad vem när varför vilken var eller men också "
        "redan mycket mer detta dessa alla varje utan mellan tack hej",
        "arbet företag situation inform fråg förklar skriv tal köp betal kund produkt system "
        "program ekvation process reger histori problem svar skillnad teknik hus stad resultat "
        "meddelande res recept lag lär övning",
        "a ar er en et arna or ade at ning ningar het lig ligt isk are else s",
    ),
    _tongue(  # Czech
        "a v z na do od po za pro bez ne je jsou byl být má mají já ty on ona my vy se to ten "
        "ta co kdo jak kdy kde proč který která ale nebo už také velmi může musí prosím děkuji "
        "ahoj",
        "prác firm situac inform otázk vysvětl napiš mluv kup plat zákaz výrob systém program "
        "rovnic proces vlád histor problém odpověd rozdíl techn dům měst výsled zpráv cest "
        "recept vař uč cvič",
        "a y u ou ě em ech ovat uje ost osti ní ný ná né ský ová",
    ),
)
_CONSONANTS = ("b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "br", "tr", "st")
_VOWELS = "aeiou"


def _invented(rng: random.Random) -> str:
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3)))


def sentence(rng: random.Random, tongue: Tongue, length: int) -> str:
    """About ``length`` characters in the manner of one language."""
    plain = rng.random() < 0.15  # as people type it who have no such keys
    words: list[str] = []
    while sum(map(len, words)) + len(words) < length:
        words += rng.choices(tongue.function, k=rng.choice((1, 1, 2, 2, 3)))
        stem = _invented(rng) if rng.random() < 0.25 else rng.choice(tongue.stems)
        words.append(stem + rng.choice(tongue.endings))
        if rng.random() < 0.08:
            words[-1] += rng.choice((",", ".", ":", "?"))
    text = " ".join(words)
    if plain:
        text = text.translate(_PLAIN)
    return text[:1].upper() + text[1:] + rng.choice((".", "?", "", "!"))


_PLAIN = str.maketrans(
    "áàâãäåąçćčďéèêëęěíìîïıłñńňóòôõöøőřśšťúùûüůűýźżžğş",
    "aaaaaaacccdeeeeeeiiiiilnnnooooooorsstuuuuuuyzzzgs",
)
