"""A text as its words, brought to one way of writing them: what `wording` compares."""

from __future__ import annotations

import re
import unicodedata

from ipfs_accelerate_py.pipeline.cache.words import (
    ARTICLES,
    BE_PAST,
    BE_PRESENT,
    CASED,
    COMMON,
    DROPPED,
    ENGLISH,
    NEGATED,
    PHRASES,
    SAME,
    WH,
)

__all__ = ["Word", "is_code", "normal", "spelt"]


class Word(str):
    """A word that remembers which article stood before it."""

    __slots__ = ("article",)

    article: str

    def __new__(cls, text: str, article: str) -> Word:
        made = super().__new__(cls, text)
        made.article = article
        return made


def normal(text: str) -> str:
    """One code point for those that look the same."""
    return unicodedata.normalize("NFKC", text.strip())


def is_code(text: str) -> bool:
    """Whether spaces and signs mean something in it."""
    return _CODE.search(text) is not None


def spelt(text: str) -> list[str]:
    """The words of a text that say something, politeness of its first and last words left out."""
    return _reduced(_words(_THANKS.sub("", _GREETING.sub("", text))))


_CODE = re.compile(
    r"[{}\[\]<>=\\`|;~^_#@\n]|\w\(|://|\w/\w|\w\w\.\w+\.\w"
    r"|\d\s*[-+*×÷]\s*[\d(]|\)\s*[-+*×÷]"  # arithmetic; a range of years is taken for it, which does no harm
)
#: Politeness that a sign sets apart: "Hello, ..." and not "Hello Kitty".
_GREETING = re.compile(r"^(?:hi|hello|hey|good (?:morning|afternoon|evening))(?: there)?\s*[,!.:–-]+\s*", re.I)
_THANKS = re.compile(r"[,.!?]\s*(?:many )?(?:thanks|thank you)(?: in advance| very much| so much)?\s*[.!]*$", re.I)
_TOKEN = re.compile(
    r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)"  # what is quoted is said of these very words
    r"|"
    r"[+-]?\d+(?:[.,:]\d+)*"  # numbers, times
    r"|[^\W\d_](?:\.[^\W\d_])+\.?"  # U.S.
    r"|[^\W\d_]+(?:'[^\W\d_]+)*\+*"  # words, with what is contracted; C++
    r"|\S"
)
#: Signs between words that carry no meaning of their own.
_SILENT = frozenset(".,!?:\"'()-…¿¡")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def _words(text: str) -> list[str]:
    """The words of a text in lower case, contractions written out, signs that carry meaning among them."""
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"').replace("–", "-")
    made: list[str] = []
    for found in _TOKEN.finditer(text):
        word = found[0]
        before = text[found.start() - 1 : found.start()]
        if word in _SILENT:
            if word in "!'\"" and before.isdigit():  # a factorial, feet, inches
                made.append(word)
            continue
        if word[0] in "\"'":
            made.append(word[0] + word[1:-1].strip())
        elif word[0].isdigit() or (word[0] in "+-" and len(word) > 1):
            made.append(_number(word, glued=bool(before) and not before.isspace()))
        else:
            made.extend(_word(word.rstrip("."), first=not before))
    return made


def _word(token: str, *, first: bool) -> list[str]:
    """A word in small letters, marked where it was written as part of a name."""
    low = token.casefold()
    if token != low and (low in CASED or low in ("ml", "ts")) and (token.isupper() or (not first and low in CASED)):
        return [low + "^"]
    if not first and token[:1].isupper() and (low in DROPPED or (low in COMMON and not token.isupper())):
        return [low + "^"]
    return _expanded(low)


def _number(token: str, *, glued: bool) -> str:
    if _THOUSANDS.fullmatch(token):
        return token.replace(",", "")
    # A hyphen after a word ("covid-19", "F-16") is no sign.
    return token[1:] if glued and token[0] == "-" else token


def _expanded(word: str) -> list[str]:
    """A contraction as the words that it stands for."""
    if "'" not in word:
        return (NEGATED.get(word) or word).split()
    if word in NEGATED:
        return NEGATED[word].split()
    head, _, tail = word.rpartition("'")
    if tail == "t" and head.endswith("n"):
        return [*_expanded(head[:-1]), "not"]
    if tail == "s":
        asks = head in WH or head in ("it", "that", "there", "here", "he", "she")
        return [head, "us" if head == "let" else "is" if asks else "'s"]
    full = {"m": "am", "re": "are", "ve": "have", "ll": "will"}.get(tail)
    return [head, full] if full is not None else [head, "'" + tail]


def _reduced(words: list[str]) -> list[str]:
    """Without what carries no meaning, and with one word for those that are the same."""
    made: list[str] = []
    dropped = DROPPED if not ENGLISH.isdisjoint(words) else DROPPED - ARTICLES
    article = ""
    at = 0
    while at < len(words):
        word = words[at]
        if word == "a" and at + 1 < len(words) and words[at + 1] in ("few", "little", "lot"):
            made.append("a_" + words[at + 1])  # "few" alone means nearly the opposite
            at += 2
            continue
        for parts in PHRASES.get(word, ()):
            if tuple(words[at : at + len(parts)]) == parts:
                word = "_".join(parts)
                at += len(parts) - 1
                break
        at += 1
        if word not in dropped:
            made.append(Word(SAME.get(word, word), article))
            article = ""
        elif word in ARTICLES:
            article = "the" if word == "the" else "a"
    return _of(made)


def _of(words: list[str]) -> list[str]:
    """``x 's y`` as ``y of x``, where both are single words."""
    made = list(words)
    at = 1
    while at < len(made) - 1:
        if made[at] == "'s" and (at + 2 == len(made) or made[at + 2] in BE_PRESENT | BE_PAST):
            made[at - 1 : at + 2] = [made[at + 1], "of", made[at - 1]]
        at += 1
    return made
