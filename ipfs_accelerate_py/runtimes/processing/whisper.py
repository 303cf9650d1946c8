"""Whisper's own language of tokens: what a prompt begins with, what may be written when, and how times are read.

Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.3 and 4.5; the rules of times are those of OpenAI's
decoder, https://github.com/openai/whisper (``ApplyTimestampRules``, ``transcribe``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .options import bad_option

__all__ = ["Heard", "Rules", "Vocabulary", "read_window"]


@dataclass(slots=True)
class Vocabulary:
    """Numbers of Whisper's special tokens in one checkpoint.

    Attributes:
        start: begins an answer.
        before: begins a prompt of earlier text; None where there is none.
        end: ends an answer.
        silent: says that no times follow.
        languages: by code (``en``); empty for a model of English alone.
        tasks: ``transcribe`` and ``translate``; empty for the same.
        never: tokens that are never written; ``never_first``: that do not begin a text.
        latest: highest first time, in steps; None for any.
        step: seconds from one time token to the next.
        steps: how many of them a window has.
    """

    start: int
    end: int
    silent: int
    before: int | None = None
    languages: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    never: list[int] = field(default_factory=list)
    never_first: list[int] = field(default_factory=list)
    latest: int | None = None
    step: float = 0.02
    steps: int = 1500

    @classmethod
    def of(cls, tokenizer: Any, generation: Any, config: Any, window: float) -> Vocabulary:
        """From a checkpoint's generation config, and its tokenizer where that says nothing."""

        def named(token: str) -> int | None:
            number = tokenizer.convert_tokens_to_ids(token)
            return None if number is None or number == tokenizer.unk_token_id else int(number)

        def told(name: str, token: str = "") -> Any:
            value = getattr(generation, name, None)
            return named(token) if value is None and token else value

        start = told("decoder_start_token_id", "<|startoftranscript|>")
        end = told("eos_token_id", "<|endoftext|>")
        silent = told("no_timestamps_token_id", "<|notimestamps|>")
        if start is None or end is None or silent is None:
            raise RuntimeUnavailable("the checkpoint does not say which of its tokens begin and end a transcript")
        languages = told("lang_to_id") or {}
        many = told("is_multilingual")
        positions = int(getattr(config, "max_source_positions", 1500))
        return cls(
            start=int(start),
            end=int(end[0] if isinstance(end, list) else end),
            silent=int(silent),
            before=told("prev_sot_token_id", "<|startofprev|>"),
            languages={} if many is False else {str(key).strip("<|>"): int(at) for key, at in languages.items()},
            tasks={} if many is False else {str(key): int(at) for key, at in (told("task_to_id") or {}).items()},
            never=[int(each) for each in told("suppress_tokens") or []],
            never_first=[int(each) for each in told("begin_suppress_tokens") or []],
            latest=told("max_initial_timestamp_index"),
            step=window / positions,
            steps=positions,
        )

    @property
    def first_time(self) -> int:
        return self.silent + 1

    def text(self, ids: Sequence[int]) -> list[int]:
        """Those of some tokens that are words."""
        special = {self.start, self.end, self.silent, self.before, *self.languages.values(), *self.tasks.values()}
        return [each for each in ids if each < self.silent and each not in special]

    def language(self, wanted: Any) -> str | None:
        """The code of a language from its code or English name; None for none said."""
        if wanted is None or wanted == "":
            return None
        names = require("transformers.models.whisper.tokenization_whisper").TO_LANGUAGE_CODE
        code = str(wanted).strip().lower().strip("<|>")
        code = names.get(code, code)
        if not self.languages:
            if code == "en":
                return None
            raise bad_option("language", f"is {wanted!r}, and this model knows English alone")
        if code not in self.languages:
            raise bad_option("language", f"is {wanted!r}, which this model does not know: {', '.join(self.languages)}")
        return str(code)


@dataclass(slots=True)
class Rules:
    """What may be written next (a `Sampling.steer`): first one of each of ``forced``, then text, with times by rule."""

    words: Vocabulary
    forced: list[list[int]]
    times: bool

    def __call__(self, written: Sequence[int], logits: Any) -> None:
        np = require("numpy")
        view = logits if isinstance(logits, np.ndarray) else logits.numpy()
        if len(written) < len(self.forced):
            allowed = self.forced[len(written)]
            kept = view[allowed].copy()
            view[:] = -np.inf
            view[allowed] = kept
            return
        text = list(written[len(self.forced) :])
        words = self.words
        view[[each for each in words.never if each < len(view)]] = -np.inf
        if not text:
            view[[each for each in words.never_first if each < len(view)]] = -np.inf
        if self.times:
            self._times(np, text, view)

    def _times(self, np: Any, text: list[int], view: Any) -> None:
        first, end = self.words.first_time, self.words.end
        view[self.words.silent] = -np.inf
        view[first + self.words.steps + 1 :] = -np.inf  # What some vocabularies are filled up with.
        timed = bool(text) and text[-1] >= first
        if timed:
            if len(text) < 2 or text[-2] >= first:
                view[first:] = -np.inf  # A pair is whole, or the first time is there: text follows.
            else:
                ended = view[end].copy()
                view[:first] = -np.inf  # A text has ended: its pair follows, or the end.
                view[end] = ended
        known = [each for each in text if each >= first]
        if known:
            # Times do not go back; nor is one written again but to begin what follows.
            view[first : known[-1] + (0 if timed and text[-2:-1] and text[-2] < first else 1)] = -np.inf
        if not text:
            view[:first] = -np.inf
            if self.words.latest is not None:
                view[first + self.words.latest + 1 :] = -np.inf
        # Where all times together are likelier than any word, a time it is.
        finite = view[np.isfinite(view)]
        if not len(finite):
            return
        powers = np.exp(view - finite.max())
        if len(powers[first:]) and powers[first:].sum() > powers[:first].max(initial=0.0):
            view[:first] = -np.inf


@dataclass(slots=True)
class Heard:
    """What one window's answer says: stretches as (start, end, tokens) in seconds from the window's beginning, and how
    far to go on from it; None for to the window's end."""

    stretches: list[tuple[float, float, list[int]]]
    advance: float | None


def read_window(ids: Sequence[int], words: Vocabulary, seconds: float) -> Heard:
    """Read an answer with times. Text after the last whole pair is heard again in the next window, so it is left out.

    Args:
        ids: the answer, without what was forced.
        seconds: how much of the window is recording.
    """
    first = words.first_time
    spoken = set(words.text(ids))
    ids = [each for each in ids if each in spoken or each >= first]
    times = [each >= first for each in ids]
    pairs = [at for at in range(1, len(ids)) if times[at] and times[at - 1]]
    closed = times[-2:] == [False, True]

    def when(token: int) -> float:
        return min((token - first) * words.step, seconds)

    if not pairs:
        text = [each for each in ids if each < first]
        known = [when(each) for each in ids if each > first]
        begin = when(ids[0]) if ids and times[0] else 0.0
        end = known[-1] if known and known[-1] > begin else seconds
        return Heard([(begin, end, text)] if text else [], None)
    cuts = [*pairs, *([len(ids)] if closed else [])]
    stretches: list[tuple[float, float, list[int]]] = []
    start = 0
    for cut in cuts:
        piece = ids[start:cut]
        text = [each for each in piece if each < first]
        if text:
            begin = when(piece[0]) if piece[0] >= first else (stretches[-1][1] if stretches else 0.0)
            finish = when(piece[-1]) if piece[-1] >= first else seconds
            stretches.append((begin, max(begin, finish), text))
        start = cut
    if closed:
        return Heard(stretches, None)
    return Heard(stretches, when(ids[pairs[-1] - 1]))
