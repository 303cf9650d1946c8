"""Whisper beside Transformers' own: prompts, rules of times, long recordings; and what overlapping texts become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.results import Transcript
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny
from ipfs_accelerate_py.runtimes.generation.base import Answer, Prompt, Sampling
from ipfs_accelerate_py.runtimes.processing.base import Context
from ipfs_accelerate_py.runtimes.processing.speech_merging import merge_overlapping
from ipfs_accelerate_py.runtimes.processing.speech_seq2seq import SpeechSeq2Seq
from ipfs_accelerate_py.runtimes.processing.whisper import Vocabulary, read_window

from .small import tone


class Hearing:
    """A Whisper and its work; answers are written greedily, token by token, without any cache."""

    def __init__(self, folder: Path) -> None:
        import transformers

        self.model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
        torch.manual_seed(0)
        for each in self.model.parameters():  # Wider than it is made, so that it says more than one word.
            each.data.normal_(0, 0.25)
        self.work = SpeechSeq2Seq(Context(folder, self.model.config, auto="AutoModelForSpeechSeq2Seq"))
        self.asked: list[tuple[Prompt, Sampling]] = []

    def write(self, prompt: Prompt, sampling: Sampling) -> Answer:
        ids: list[int] = []
        with torch.inference_mode():
            encoded = self.model.model.encoder(torch.from_numpy(prompt.features["input_features"])[None])
            while len(ids) < (sampling.max_tokens or 0):
                given = torch.tensor([[*prompt.ids, *ids]])
                row = (
                    self.model(encoder_outputs=encoded, decoder_input_ids=given, use_cache=False).logits[0, -1].numpy()
                )
                if sampling.steer is not None:
                    sampling.steer(ids, row)
                chosen = int(row.argmax())
                if chosen in sampling.stop_ids:
                    break
                ids.append(chosen)
        return Answer(ids, "", "stop")

    def __call__(self, given: Any, **options: Any) -> Transcript:
        self.asked = self.work.prompts(given, options)
        answers = [self.write(*each) for each in self.asked]
        while more := self.work.follow(answers, self.asked, options):
            self.asked += more
            answers += [self.write(*each) for each in more]
        return self.work.join(answers, self.asked, options)


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Hearing:
    import transformers

    folder = write_tiny("whisper", tmp_path_factory.mktemp("whisper"), changes={"max_source_positions": 1500})
    transformers.WhisperFeatureExtractor().save_pretrained(folder)  # Whole windows of 30 seconds.
    file = folder / "generation_config.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key[0] != "_"}))
    return Hearing(folder)


def test_what_is_written_with_times_is_what_transformers_writes(hearing: Hearing) -> None:
    sound = tone(58, 500)
    found = hearing(sound, language="english", return_timestamps=True, max_tokens=12)
    made = hearing.work.extractor(sound[: 30 * 16000], sampling_rate=16000, return_tensors="pt")
    model = hearing.model
    for name, value in vars(hearing.work.generation).items():
        setattr(model.generation_config, name, value)
    expected = model.generate(
        made.input_features,
        language="en",
        return_timestamps=True,
        return_segments=True,
        max_new_tokens=12,
        do_sample=False,
    )
    wanted = [
        (float(each["start"]), float(each["end"])) for each in expected["segments"][0] if float(each["start"]) < 29
    ]
    first = [(each.start, each.end) for each in found.segments if each.start < 29][: len(wanted)]
    assert first == [pytest.approx(each, abs=0.021) for each in wanted]
    # The second window begins where the first one's last whole stretch ended.
    starts = [prompt.start / 16000 for prompt, _ in hearing.asked]  # type: ignore[attr-defined]
    assert starts[0] == 0
    assert 20 < starts[1] <= 30
    assert found.duration == pytest.approx(58)
    assert found.language == "en"


def test_the_prompt_says_language_and_task(hearing: Hearing) -> None:
    words = hearing.work._whisper
    assert words is not None
    ((told, sampling),) = hearing.work.prompts(tone(1), {"language": "de", "task": "translate", "prompt": "fox"})
    assert told.ids[0] == words.before
    tail = [words.start, words.languages["de"], words.tasks["translate"], words.silent]
    assert told.ids[-4:] == tail
    assert sampling.temperature == 0
    found = hearing(tone(1), max_tokens=3)
    assert found.language in words.languages  # Heard, by the first token of the answer itself.
    ((_, sampling),) = hearing.asked
    row = np.zeros(2100, np.float32)
    assert sampling.steer is not None
    sampling.steer([], row)
    assert set(np.flatnonzero(np.isfinite(row))) == set(words.languages.values())
    with pytest.raises(InvalidRequest, match="language"):
        hearing(tone(1), language="klingon")
    with pytest.raises(UnsupportedOperation, match="segments"):
        hearing(tone(1), return_timestamps="word")


def test_windows_may_be_heard_at_once(hearing: Hearing) -> None:
    found = hearing(tone(40), chunk_length_s=20, max_tokens=4, language="en", return_timestamps=True)
    assert len(hearing.asked) == 3
    assert all(each.start <= each.end <= 40 for each in found.segments)


WORDS = Vocabulary(start=90, end=91, silent=99)  # Times begin at 100.


@pytest.mark.parametrize(
    ("ids", "stretches", "advance"),
    [
        ([100, 1, 2, 150], [(0.0, 1.0, [1, 2])], None),
        ([100, 1, 150, 150, 2, 200, 200, 3], [(0.0, 1.0, [1]), (1.0, 2.0, [2])], 2.0),
        ([100, 1, 150, 150, 2, 200], [(0.0, 1.0, [1]), (1.0, 2.0, [2])], None),
        ([1, 2], [(0.0, 30.0, [1, 2])], None),
        ([], [], None),
    ],
)
def test_times_become_stretches(ids: list[int], stretches: list[Any], advance: float | None) -> None:
    heard = read_window(ids, WORDS, 30.0)
    assert heard.stretches == stretches
    assert heard.advance == advance


def test_overlapping_texts_meet_where_they_agree() -> None:
    assert merge_overlapping([[1, 2, 3, 4, 5], [4, 5, 6, 7]]) == [1, 2, 3, 4, 5, 6, 7]
    assert merge_overlapping([[1, 2], [3, 4]]) == [1, 2, 3, 4]
    assert merge_overlapping([]) == []
