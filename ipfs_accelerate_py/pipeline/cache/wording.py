"""Whether two questions are the same but for their wording.

Embeddings cannot tell: of two sentences that differ in one number, one name or a "not", the cosine is as near to 1 as
of two that say the same. So a question is brought to a plain form by rules (politeness, contractions, spelling, the
ways to ask what something is or how something is done, words that mean the same), and two questions are the same
where their plain forms are. Every word that the rules do not know counts, in its place: a changed number, unit, name,
direction, quantity, tense, negation, or any other word makes another question. Rules are for English; other languages
keep every word. Texts with signs of code, or of several lines, are compared as they are.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from ipfs_accelerate_py.pipeline.cache.spelling import is_code, normal, spelt
from ipfs_accelerate_py.pipeline.cache.words import AGENTS, BE_PAST, BE_PRESENT, MEASURES, WH

__all__ = ["Plain", "plain", "same_question"]


class Plain(NamedTuple):
    """A question without its wording: the ways in which it may be meant, and its words."""

    ways: frozenset[str]
    words: tuple[str, ...]

    def same_as(self, other: Plain) -> bool:
        """Whether both ask the same."""
        return self.words == other.words and not self.ways.isdisjoint(other.ways)


def same_question(asked: str, kept: str) -> bool:
    """Whether two questions differ in nothing but their wording, as far as rules can tell. In doubt they differ."""
    return asked == kept or plain(asked).same_as(plain(kept))


@functools.lru_cache(2048)
def plain(text: str) -> Plain:
    """The plain form of a text."""
    text = normal(text)
    return Plain(_EXACTLY, (text,)) if is_code(text) else _meant(spelt(text))


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_EXACTLY = frozenset(("exactly",))
_SAID = frozenset(("said",))
# --- ways to ask ---------------------------------------------------------------------------------------------------

#: What somebody says before he asks. Longest first; what follows is the question.
_BEFORE = sorted(
    (
        tuple(each.split())
        for each in """
        can you help me|could you help me
        i want you to|i would like you to|i need you to|i 'd like you to|help me understand|help me to understand
        i am wondering|i was wondering|i wonder|quick question|i have question|can i ask|may i ask
        let me know|i am trying to understand|i want to understand|i would like to understand
        i need to understand
        """.replace("\n", "|").split("|")
        if each.strip()
    ),
    key=len,
    reverse=True,
)
#: Before these only, "can you" is politeness: "can you swim in the Dead Sea" is a question.
_ASKING = frozenset((("can", "you"), ("could", "you"), ("would", "you"), ("will", "you")))
_REQUESTS = _set(
    """
    explain tell describe define give list name show teach help write summarize translate compare provide
    suggest recommend calculate convert compute solve generate outline clarify
    """
)
_AFTER_REQUESTS = (("for", "me"), ("to", "me"))
#: Before a question they are politeness; before a thing they ask for it.
_TELL = (
    ("tell", "me"), ("do", "you", "know"), ("i", "want", "to", "know"), ("i", "would", "like", "to", "know"),
    ("i", "need", "to", "know"), ("i", "'d", "like", "to", "know"),
)  # fmt: skip
_AFTER_TELL = WH | {"about", "if", "whether"}
_HOW_TO = sorted(
    (
        tuple(each.split())
        for each in """
        how do i|how can i|how do you|how can you|how to|how does one|how can one|how do we|how can we|how would i
        how would you|how might i|how could i|how would one|how do people|show me how to|teach me how to|explain how to
        describe how to|explain to me how to|explain me how to|show how to|what is way to|what are steps to
        """.replace("\n", "|").split("|")
        if each.strip()
    ),
    key=len,
    reverse=True,
)
_DEFINE = frozenset(("define", "list"))
#: The beginning of a question to the ways it may be meant: what something is ("define"), or which things there are
#: ("list"). Where both are named the article decides, see `_ways`.
_WAYS: dict[tuple[str, ...], frozenset[str]] = {
    tuple(words.split()): frozenset(ways.split())
    for words, ways in {
        "what is": "define list", "what are": "define list", "which are": "list", "explain": "define",
        "explain to me": "define", "explain what is": "define", "explain what are": "define", "describe": "define",
        "define": "define", "about": "define", "give me explanation of": "define", "give explanation of": "define",
        "give me overview of": "define", "give overview of": "define", "give me information about": "define",
        "give me info about": "define", "teach me about": "define", "what do you know about": "define",
        "what is meaning of": "define", "what is definition of": "define", "definition of": "define",
        "meaning of": "define", "explain concept of": "define", "explain idea of": "define",
        "explain term": "define", "what is meant by": "define", "i want to learn about": "define", "list": "list",
        "name": "list", "give me": "list", "give me list of": "list", "list of": "list", "give list of": "list",
        "give": "list", "make list of": "list", "state": "list", "tell me": "list",
    }.items()
}  # fmt: skip
_LONGEST_WAY = max(map(len, _WAYS))


def _meant(words: list[str]) -> Plain:
    words = _without_politeness(words)
    for start in _HOW_TO:
        # "How do you feel" is no question of how to feel.
        if tuple(words[: len(start)]) == start and len(words) - len(start) > 1:
            return Plain(frozenset(("how to",)), tuple(words[len(start) :]))
    if words[:1] and words[0] in ("explain", "describe", "show", "me") and words[1:2] and words[1] in WH - {"what"}:
        words = words[1:]  # "explain how it works", "explain why"
    return (
        _difference(words) or _agent(words) or _measure(words) or _definition(words) or _asked(words)
        or Plain(_SAID, tuple(words))
    )  # fmt: skip


def _without_politeness(words: list[str]) -> list[str]:
    found = True
    while found:
        found = False
        for start in _BEFORE:
            if len(words) > len(start) and tuple(words[: len(start)]) == start:
                words = words[len(start) :]
                found = True
                break
        for start in _TELL:
            if len(words) > len(start) and tuple(words[: len(start)]) == start:
                found = words[len(start)] in _AFTER_TELL
                words = words[len(start) :] if found else ["tell", "me", *words[len(start) :]]
                break
        if tuple(words[:2]) in _ASKING and words[2:3] and words[2] in _REQUESTS:
            words = words[2:]
            found = True
    for end in _AFTER_REQUESTS if words[:1] and words[0] in _REQUESTS else ():
        if len(words) > len(end) + 1 and tuple(words[-len(end) :]) == end:
            words = words[: -len(end)]
    return words


def _difference(words: list[str]) -> Plain | None:
    """Differences, comparisons and distances are the same from either side."""
    text = " ".join(words)
    for way, patterns in _PAIRS.items():
        for pattern in patterns:
            found = pattern.fullmatch(text)
            if found is not None and " and " not in f"{found[1]} {found[2]}":
                return Plain(frozenset((way,)), tuple(sorted((found[1], found[2]))))
    return None


_ASK = r"(?:what (?:is|are) |explain (?:to me )?|describe )?"
_PAIRS = {
    "difference": [
        re.compile(_ASK + r"(?:main |key )?differences? between (.+?) and (.+)"),
        re.compile(r"how (?:do|does) (.+?) and (.+) differ"),
        re.compile(r"how (?:do|does) (.+?) differ from (.+)"),
        re.compile(r"how (?:is|are) (.+?) different from (.+)"),
        re.compile(r"how (?:is|are) (.+?) and (.+) different"),
    ],
    "comparison": [
        re.compile(r"compare (.+?) (?:and|with|to) (.+)"),
        re.compile(r"comparison (?:of|between) (.+?) and (.+)"),
        re.compile(r"(.+?) vs (.+)"),
    ],
    "distance": [
        re.compile(_ASK + r"distance between (.+?) and (.+)"),
        re.compile(_ASK + r"distance from (.+?) to (.+)"),
        re.compile(r"how far is it from (.+?) to (.+)"),
        re.compile(r"how far (?:is|are) (.+?) from (.+)"),
        re.compile(r"how far apart are (.+?) and (.+)"),
    ],
}


def _agent(words: list[str]) -> Plain | None:
    """Who made something."""
    if len(words) > 2 and words[0] == "who":
        if (words[1] in AGENTS and AGENTS[words[1]] != "author") or words[1] == "wrote":
            return Plain(frozenset(("who",)), (AGENTS[words[1]], *words[2:]))
        if len(words) > 4 and words[1] in BE_PRESENT | BE_PAST and words[3] == "of":
            role = AGENTS.get(words[2], words[2])
            if role in AGENTS.values():
                return Plain(frozenset(("who",)), (role, *words[4:]))
    return None


def _measure(words: list[str]) -> Plain | None:
    """How much of something there is."""
    if len(words) > 3 and words[0] == "how" and words[1] in MEASURES and words[2] in BE_PRESENT:
        return Plain(_DEFINE, (MEASURES[words[1]], "of", *words[3:]))
    if len(words) > 5 and words[:4] == ["how", "many", "people", "live"] and words[4] == "in":
        return Plain(_DEFINE, ("population", "of", *words[5:]))
    return None


def _definition(words: list[str]) -> Plain | None:
    """What something is, and which things there are."""
    if len(words) > 2 and words[0] == "what" and words[1] not in BE_PRESENT and words[-1] in BE_PRESENT:
        words = ["what", words[-1], *words[1:-1]]  # "tell me what the capital of France is"
    if len(words) > 3 and words[:2] == ["what", "does"] and words[-1] == "mean":
        return Plain(frozenset(("define",)), tuple(words[2:-1]))
    if words[:1] == ["explain"] and words[1:2] == ["what"] and words[-1] in BE_PRESENT:
        return Plain(frozenset(("define",)), tuple(words[2:-1]))
    for length in range(min(_LONGEST_WAY, len(words) - 1), 0, -1):
        ways = _WAYS.get(tuple(words[:length]))
        if ways is not None:
            return Plain(_ways(ways, words[length:]), tuple(words[length:]))
    return None


def _ways(ways: frozenset[str], rest: list[str]) -> frozenset[str]:
    """ "What is the capital of France" asks what "name the capital of France" asks for; "what is a prime number" does
    not ask for one."""
    if "list" not in ways:
        return ways
    article = getattr(rest[0], "article", "")
    if article == "the" or (not article and "of" in rest):
        return ways
    return ways - {"list"} or frozenset(("some",))


#: Said of a thing in general, these end in "s" where "does" does not stand before.
_VERBS = {"works": "work", "functions": "function", "occurs": "occur", "differs": "differ", "affects": "affect"}


def _asked(words: list[str]) -> Plain | None:
    """How, why, where, when and who: the verb's place is a matter of wording, its tense is not."""
    if not words or words[0] not in WH:
        return None
    way = words[0]
    rest = words[1:]
    if way == "how" and rest[:1] == ["come"]:
        way, rest = "why", rest[1:]
    if way in ("how", "why", "where", "when"):
        if rest[:1] and rest[0] in ("do", "does"):
            return Plain(frozenset((way,)), tuple(rest[1:]))
        if len(rest) > 1 and rest[-1] in _VERBS:
            return Plain(frozenset((way,)), (*rest[:-1], _VERBS[rest[-1]]))
        if way == "where" and len(rest) > 2 and rest[-1] in ("located", "situated") and rest[0] in BE_PRESENT:
            rest = rest[:-1]
    present = [at for at, word in enumerate(rest) if word in BE_PRESENT]
    past = [at for at, word in enumerate(rest) if word in BE_PAST]
    if len(present) + len(past) == 1:
        at = (present or past)[0]
        tense = "now" if present else "then"
        return Plain(frozenset((f"{way} {tense}",)), (*rest[:at], *rest[at + 1 :]))
    return Plain(frozenset((way,)), tuple(rest))
