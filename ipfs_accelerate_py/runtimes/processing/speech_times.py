"""Times in transcripts: which of them a caller wants, and segments out of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Segment

from .options import bad_option

__all__ = ["segments_of", "wanted_times"]

# A segment ends at a pause of so many seconds, at the end of a sentence, or when it is two lines of subtitles long.
_PAUSE, _LONGEST = 0.8, 12.0
_ENDS = (".", "?", "!", "。", "？", "！")


def wanted_times(options: Mapping[str, Any]) -> set[str]:
    """``segment``, ``word``, ``char``: what ``return_timestamps`` and OpenAI's ``timestamp_granularities`` ask for;
    subtitles and ``verbose_json`` (``response_format``) ask for segments."""
    found: set[str] = set()
    asked = options.get("return_timestamps")
    if asked is True:
        found.add("segment")
    elif isinstance(asked, str):
        found.add(asked)
    elif asked not in (None, False):
        raise bad_option("return_timestamps", f"is true, false, segment, word or char, not {asked!r}")
    given = options.get("timestamp_granularities") or []
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list | tuple) or not all(each in ("word", "segment") for each in given):
        raise bad_option("timestamp_granularities", "is a list of word and segment")
    found.update(given)
    if options.get("response_format") in ("srt", "vtt", "verbose_json") and "segment" not in found:
        found.add("segment")
    return found


def segments_of(words: Sequence[Segment]) -> list[Segment]:
    """Words put together to segments: up to a pause, the end of a sentence, or a length that can be read."""
    found: list[Segment] = []
    for word in words:
        if (
            found
            and word.start - found[-1].end < _PAUSE
            and word.end - found[-1].start <= _LONGEST
            and not found[-1].text.endswith(_ENDS)
        ):
            found[-1].text += f" {word.text}"
            found[-1].end = word.end
        else:
            found.append(Segment(word.start, word.end, word.text))
    return found
