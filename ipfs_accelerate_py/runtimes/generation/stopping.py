"""Where an answer ends: texts that end it are never shown, not even the half of one that a token happens to end in."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Stopper"]


class Stopper:
    """Passes on text as far as no stop string can begin in it."""

    __slots__ = ("_held", "_stops", "stopped")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [each for each in stops if each]
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What may be shown now. After a stop string ``stopped`` is true, and nothing more comes."""
        if not self._stops:
            return text
        if self.stopped:
            return ""
        held = self._held + text
        found = [at for at in (held.find(each) for each in self._stops) if at >= 0]
        if found:
            self.stopped, self._held = True, ""
            return held[: min(found)]
        keep = max(_overlap(held, each) for each in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def flush(self) -> str:
        """What was held back, when the answer ends otherwise."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` begins with."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
