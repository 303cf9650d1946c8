"""Speech to text by models that say a letter for every frame (CTC), and by those that also say how long (TDT).

CTC: Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf; here the likeliest letter of each frame is
taken (greedy). Long recordings are heard in overlapping windows whose logits are put together in the middle of the
overlaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.results import Segment, Transcript
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context, Piece
from .options import bad_option, number
from .recordings import AudioProcessing, frames_of
from .speech_times import segments_of, wanted_times
from .tokens import Tokenizer

__all__ = ["SpeechCTC"]

# Model classes that choose their own next frame, by Transformers' generate.
_TRANSDUCERS = ("AutoModelForTDT", "AutoModelForRNNT")


@dataclass(slots=True)
class _Note:
    #: Samples of the window, those of them at its beginning and end that another window hears better, and of the whole.
    samples: int
    left: int
    right: int
    total: int


class SpeechCTC(AudioProcessing):
    """Input: a recording of any length.

    Options: ``chunk_length_s`` (30; 0: whole) and ``stride_length_s`` (a sixth of it: overlap at each side) for long
    ones; ``return_timestamps``: ``word``, ``char``, or True for segments (words between pauses); OpenAI's
    ``timestamp_granularities`` (``word``, ``segment``) as well.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tokenizer = Tokenizer(context)
        self.tokenizer.needed()
        self.runs = context.auto in _TRANSDUCERS
        blank = getattr(self.config, "pad_token_id", None)
        #: Samples from one frame to the next, where the config tells.
        self._step = int(getattr(self.config, "inputs_to_logits_ratio", 0) or 0)
        if self._step == 1 or (self._step and frames_of(self.config, 10**6) is None):
            self._step = 0  # Of a model that takes spectra it counts those, or nothing.
        self._blank = self.tokenizer.inner.pad_token_id if blank is None else blank

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        times = wanted_times(options)
        if self.runs and times:
            raise UnsupportedOperation("models of this kind (TDT, RNN-T) give no times here; ask without timestamps")
        if times - {"word", "char", "segment"}:
            raise bad_option("return_timestamps", "is word, char, or true")
        sound = self.read(given)
        total = len(sound.samples)
        align = self._step or 1
        seconds = number(options, "chunk_length_s", self.window, low=0)
        size = round(seconds * self.rate / align) * align
        if size <= 0 or total <= size:
            return [self._window(sound.samples, 0, 0, total)]
        overlap = number(options, "stride_length_s", seconds / 6, low=0)
        side = 0 if self.runs else round(overlap * self.rate / align) * align
        if 2 * side >= size:
            raise bad_option("stride_length_s", "is less than half of chunk_length_s")
        pieces = []
        for start in range(0, total, size - 2 * side):
            window = sound.samples[start : start + size]
            last = start + size >= total
            if len(window) > (side if start else 0) and (frames_of(self.config, len(window)) or 1) > 0:
                pieces.append(self._window(window, side if start else 0, 0 if last else side, total))
            if last:
                break
        return pieces

    def _window(self, samples: Any, left: int, right: int, total: int) -> Piece:
        # All windows carry a mask where the model takes one, as Transformers' pipeline does.
        settings = {} if self._padded or not self._takes_mask() else {"return_attention_mask": True}
        return self.piece(samples, _Note(len(samples), left, right, total), **settings)

    def _takes_mask(self) -> bool:
        return self.context.inputs is None or "attention_mask" in self.context.inputs

    def run(self, network: Any, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        if not self.runs:
            return super().run(network, pieces)
        torch = require("torch")
        model = getattr(network, "model", None)
        if model is None or not hasattr(model, "generate"):
            raise RuntimeUnavailable("such a model chooses its frames as it writes: only PyTorch does (runtime torch)")
        batch = {name: torch.as_tensor(array).to(network.device) for name, array in self.collate(pieces).items()}
        if getattr(model.generation_config, "decoder_start_token_id", None) is None:
            batch["decoder_start_token_id"] = getattr(self.config, "blank_token_id", None)  # nothing is said yet
        with torch.inference_mode():
            made = model.generate(**batch, return_dict_in_generate=True)
        return [{"ids": row} for row in made.sequences.cpu().numpy()]

    def join(
        self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]
    ) -> Transcript:
        notes: list[_Note] = [piece.note for piece in pieces]
        duration = notes[0].total / self.rate
        if self.runs:
            said = [self.tokenizer.inner.decode(row["ids"], skip_special_tokens=True).strip() for row in rows]
            return Transcript(" ".join(each for each in said if each), duration=duration)
        np = require("numpy")
        best, frame = [], 0.0
        for row, note in zip(rows, notes, strict=True):
            ids = row["logits"].argmax(axis=-1)
            ids = ids[: frames_of(self.config, note.samples) or len(ids)]
            # Frames begin every so many samples; the last of a window may be missing, for want of samples after it.
            step = self._step or note.samples / len(ids)
            count = round(note.samples / step)
            best.append(ids[round(note.left / step) : count - round(note.right / step)])
            frame = step / self.rate
        ids = np.concatenate(best)
        times = wanted_times(options)
        text = str(self.tokenizer.inner.decode([int(each) for each in ids])).strip()
        if not times:
            return Transcript(text, duration=duration)
        letters = self._letters(ids, frame)
        words = _words(letters)
        if "char" in times:
            return Transcript(text, [each for each in letters if each.text.strip()], duration=duration)
        segments = segments_of(words) if "segment" in times else words
        return Transcript(text, segments, duration=duration, words=words if "word" in times else [])

    def _letters(self, ids: Any, frame: float) -> list[Segment]:
        """Runs of one letter, with their times; a space where one word ends."""
        found, start = [], 0
        space = getattr(self.tokenizer.inner, "word_delimiter_token", None)
        for at in range(1, len(ids) + 1):
            if at < len(ids) and ids[at] == ids[start]:
                continue
            if int(ids[start]) != self._blank:
                token = str(self.tokenizer.inner.convert_ids_to_tokens(int(ids[start])))
                token = " " if token == space else token.replace("▁", " ")
                if getattr(self.tokenizer.inner, "do_lower_case", False):
                    token = token.lower()
                found.append(Segment(start * frame, at * frame, token))
            start = at
        return found


def _words(letters: Sequence[Segment]) -> list[Segment]:
    words: list[Segment] = []
    begun = False
    for letter in letters:
        if letter.text.startswith(" "):
            begun = False
        text = letter.text.strip()
        if not text:
            continue
        if begun:
            words[-1].text += text
            words[-1].end = letter.end
        else:
            words.append(Segment(letter.start, letter.end, text))
            begun = True
    return words
