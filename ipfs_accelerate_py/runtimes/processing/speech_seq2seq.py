"""Speech to text by models that write: Whisper, other encoder-decoders, and language models that hear.

A recording longer than Whisper's window of 30 seconds is heard window by window, each beginning where the last whole
sentence ended (`follow`); with ``chunk_length_s`` in overlapping windows at once, which is faster and less exact at the
seams. Other models take overlapping windows always.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.results import Segment, Transcript
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.generation.base import Answer, Prompt, Sampling

from .base import Context
from .options import bad_option, choice, number, whole
from .recordings import feature_extractor
from .sound import Sound, read_sound
from .speech_merging import merge_overlapping
from .speech_prompts import SpeechPrompts, speech_prompts
from .speech_times import wanted_times
from .whisper import Heard, Rules, Vocabulary, read_window

__all__ = ["SpeechSeq2Seq"]

_Asked = tuple[Prompt, Sampling]


class _Window(Prompt, kw_only=True):
    """A prompt, and which part of which recording it is of. In samples, but ``forced``: tokens."""

    sound: Any
    start: int
    size: int
    forced: int = 0
    language: str = ""


class SpeechSeq2Seq:
    """See `Writing`. Input: a recording of any length.

    Options: ``language`` (code or name; heard from the recording where it is not there and the model knows several),
    ``task`` (``transcribe`` or ``translate``, to English), ``translate`` (True for the latter), ``prompt`` (text before
    it: names and spelling), ``return_timestamps`` (True: segments) and OpenAI's ``timestamp_granularities``,
    ``temperature`` (0), ``max_tokens`` of a window, ``num_beams``, ``seed``, ``chunk_length_s``, ``stride_length_s``.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.generation = _generation(context)
        self._whisper: Vocabulary | None = None
        self._prompts: SpeechPrompts | None = None
        if self.config.model_type == "whisper":
            self.extractor = feature_extractor(context)
            self.rate = int(self.extractor.sampling_rate)
            self.tokenizer = _tokenizer(context)
            self._length = int(self.extractor.n_samples)
            self._whisper = Vocabulary.of(self.tokenizer, self.generation, self.config, self._length / self.rate)
        else:
            self._prompts = speech_prompts(context, self.generation)
            self.rate, self.tokenizer = self._prompts.rate, self._prompts.tokenizer
            self._length = 30 * self.rate

    def prompts(self, given: Any, options: Mapping[str, Any]) -> list[_Asked]:
        times = wanted_times(options)
        if times - {"segment"}:
            raise UnsupportedOperation(
                f"{sorted(times - {'segment'})[0]} times need the attention of a model that writes, which is not kept "
                "here: ask for segments, or use a CTC model (wav2vec2), which has them"
            )
        sound = read_sound(given, self.rate)
        if self._whisper is None:
            if times:
                raise UnsupportedOperation("of the models that write, Whisper alone gives times: ask without")
            return [self._other(window, options) for window in self._cut(sound, options)]
        language = self._whisper.language(options.get("language")) or ""
        if self._at_once(sound, options):
            return [self._heard(window, options, language) for window in self._cut(sound, options)]
        return [self._heard(_window(sound, 0, self._length), options, language)]

    def follow(self, answers: Sequence[Answer], prompts: Sequence[_Asked], options: Mapping[str, Any]) -> list[_Asked]:
        last = prompts[-1][0]
        assert isinstance(last, _Window)
        if self._whisper is None or self._at_once(last.sound, options):
            return []
        heard = self._read(answers[-1], last)
        # At least a tenth of a second on: a model that writes nonsense must not hold up everybody.
        far = heard.advance is not None and heard.advance >= 0.1
        step = round((heard.advance or 0) * self.rate) if far else last.size
        start = last.start + step
        # A rest of less than one time step holds no word.
        if len(last.sound.samples) - start < self._whisper.step * self.rate:
            return []
        return [self._heard(_window(last.sound, start, self._length), options, self._language(answers, prompts))]

    def join(self, answers: Sequence[Answer], prompts: Sequence[_Asked], options: Mapping[str, Any]) -> Transcript:
        windows = [prompt for prompt, _ in prompts if isinstance(prompt, _Window)]
        sound: Sound = windows[0].sound
        duration = sound.seconds
        if self._whisper is None:
            parts = [self._plain(answer.ids) for answer in answers]
            return Transcript(self._say(merge_overlapping(parts)), duration=duration)
        segments: list[Segment] = []
        language = self._language(answers, prompts)
        if self._timed(sound, options):
            overlapping = self._at_once(sound, options)
            for at, (answer, window) in enumerate(zip(answers, windows, strict=True)):
                begin = window.start / self.rate
                low, high = _own(windows, at, self.rate) if overlapping else (0.0, duration)
                for start, end, ids in self._read(answer, window).stretches:
                    middle = begin + (start + end) / 2
                    if low <= middle <= high and (text := self._say(ids)):
                        segments.append(Segment(begin + start, min(begin + end, duration), text))
            text = " ".join(each.text for each in segments)
        else:
            text = self._say(merge_overlapping([answer.ids[window.forced :] for answer, window in
                                                zip(answers, windows, strict=True)]))  # fmt: skip
        shown = segments if "segment" in wanted_times(options) else []
        return Transcript(text, shown, language, duration)

    # --- Whisper -------------------------------------------------------------------------------------------------

    def _heard(self, window: _Window, options: Mapping[str, Any], language: str) -> _Asked:
        words = self._whisper
        assert words is not None
        usual = "translate" if options.get("translate") else "transcribe"
        task = choice(options, "task", ("transcribe", "translate"), usual)
        if task == "translate" and not words.tasks:
            raise bad_option("task", "is translate, and this model knows English alone")
        timed = self._timed(window.sound, options)
        after: list[list[int]] = [] if timed else [[words.silent]]
        forced: list[list[int]] = []
        ids = [words.start]
        if words.languages:
            spoken = [words.languages[language]] if language else list(words.languages.values())
            forced = [spoken, [words.tasks[task]]] if words.tasks else [spoken]
        forced += after
        while forced and len(forced[0]) == 1:  # What is known is put into the prompt; what is heard begins the answer.
            ids += forced.pop(0)
        room = int(self.config.max_target_positions)
        window.ids = [*self._before(options, room), *ids]
        window.forced = len(forced)
        window.language = language
        cut = window.sound.samples[window.start : window.start + window.size]
        made = self.extractor(cut, sampling_rate=self.rate, return_tensors="np")
        window.features = {"input_features": made["input_features"][0]}
        most = min(room - len(window.ids), whole(options, "max_tokens", room // 2, low=1) + len(forced))
        sampling = _sampling(options, most, words.end)
        sampling.steer = Rules(words, forced, timed)
        return window, sampling

    def _before(self, options: Mapping[str, Any], room: int) -> list[int]:
        text = options.get("prompt")
        if not text or self._whisper is None or self._whisper.before is None:
            return []
        if not isinstance(text, str):
            raise bad_option("prompt", "is a text")
        ids = self.tokenizer(f" {text.strip()}", add_special_tokens=False)["input_ids"]
        return [self._whisper.before, *ids[-(room // 2 - 1) :]]

    def _read(self, answer: Answer, window: _Window) -> Heard:
        assert self._whisper is not None
        return read_window(answer.ids[window.forced :], self._whisper, window.size / self.rate)

    def _language(self, answers: Sequence[Answer], prompts: Sequence[_Asked]) -> str:
        first = prompts[0][0]
        assert isinstance(first, _Window)
        assert self._whisper is not None
        if first.language or not self._whisper.languages:
            return first.language or "en"
        number = next(iter(answers[0].ids), None)
        return next((code for code, at in self._whisper.languages.items() if at == number), "")

    def _timed(self, sound: Sound, options: Mapping[str, Any]) -> bool:
        """Whether times are written: asked for, or needed to find the next window."""
        long = len(sound.samples) > self._length and not self._at_once(sound, options)
        return long or bool(wanted_times(options))

    # --- the others ----------------------------------------------------------------------------------------------

    def _other(self, window: _Window, options: Mapping[str, Any]) -> _Asked:
        assert self._prompts is not None
        cut = window.sound.samples[window.start : window.start + window.size]
        window.ids, window.features = self._prompts.make(cut, options)
        window.flat = list(window.features) if self._prompts.flat else []
        seconds = window.size / self.rate
        most = whole(options, "max_tokens", self._prompts.most(seconds), low=1)
        return window, _sampling(options, most, self._prompts.end)

    # --- both ----------------------------------------------------------------------------------------------------

    def _at_once(self, sound: Sound, options: Mapping[str, Any]) -> bool:
        return options.get("chunk_length_s") is not None and len(sound.samples) > self._size(options)

    def _size(self, options: Mapping[str, Any]) -> int:
        seconds = number(options, "chunk_length_s", self._length / self.rate, low=0)
        size = round(seconds * self.rate) or self._length
        return min(size, self._length) if self._whisper is not None else size

    def _cut(self, sound: Sound, options: Mapping[str, Any]) -> list[_Window]:
        size = self._size(options)
        side = round(number(options, "stride_length_s", size / self.rate / 6, low=0) * self.rate)
        if 2 * side >= size:
            raise bad_option("stride_length_s", "is less than half of chunk_length_s")
        windows = []
        for start in range(0, len(sound.samples), size - 2 * side):
            windows.append(_window(sound, start, size))
            if start + size >= len(sound.samples):
                break
        return windows

    def _plain(self, ids: Sequence[int]) -> list[int]:
        special = set(self.tokenizer.all_special_ids)
        return [each for each in ids if each not in special]

    def _say(self, ids: Sequence[int]) -> str:
        words = self._whisper
        if words is not None:
            ids = words.text(ids)
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def _window(sound: Sound, start: int, length: int) -> _Window:
    return _Window(sound=sound, start=start, size=min(length, len(sound.samples) - start))


def _own(windows: Sequence[_Window], at: int, rate: int) -> tuple[float, float]:
    """The stretch of the recording that this of several overlapping windows hears best, in seconds."""
    low = 0.0 if at == 0 else (windows[at].start + windows[at - 1].start + windows[at - 1].size) / 2 / rate
    last = at == len(windows) - 1
    high = float("inf") if last else (windows[at + 1].start + windows[at].start + windows[at].size) / 2 / rate
    return low, high


def _sampling(options: Mapping[str, Any], most: int, end: int | None) -> Sampling:
    return Sampling(
        max_tokens=most,
        temperature=number(options, "temperature", 0.0, low=0, high=2),
        beams=whole(options, "num_beams", 1, low=1, high=32),
        seed=options.get("seed"),
        stop_ids=[] if end is None else [end],
    )


def _generation(context: Context) -> Any:
    """Transformers' generation config, with all that its file says: it drops what it does not know by itself."""
    transformers = require("transformers")
    try:
        made = transformers.GenerationConfig.from_pretrained(str(context.path), local_files_only=True)
        said = json.loads((context.path / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return transformers.GenerationConfig.from_model_config(context.config)
    for name, value in said.items():
        if getattr(made, name, None) is None:
            setattr(made, name, value)
    return made


def _tokenizer(context: Context) -> Any:
    transformers = require("transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(context.path), local_files_only=True, trust_remote_code=context.trust_remote_code
        )
    except Exception as exc:
        raise RuntimeUnavailable(f"the checkpoint has no tokenizer that loads: {str(exc).splitlines()[0]}") from exc
