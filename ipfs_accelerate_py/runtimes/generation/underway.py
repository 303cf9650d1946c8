"""One request on its way through the batcher: its row, its choosing, its text, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, MemoryExhausted, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.scheduled import is_out_of_memory

from .base import Prompt, Sampling, Written
from .constraints import GrammarMask
from .detokenizing import Decode, Detokenizer
from .sampling import Chooser, Chosen
from .stopping import Stopper

__all__ = ["Underway", "typed"]


class Underway:
    """See `Ticket`. Made by the caller's thread, used by the batcher's; ``cancel`` from any."""

    __slots__ = (
        "alone",
        "cancelled",
        "chooser",
        "detokenizer",
        "ended",
        "last",
        "limit",
        "mask",
        "priority",
        "prompt",
        "reserved",
        "row",
        "sampling",
        "since",
        "stopper",
        "told",
        "wake",
        "written",
    )

    def __init__(
        self,
        prompt: Prompt,
        sampling: Sampling,
        told: Callable[[Written], None],
        *,
        priority: int,
        since: float,
        limit: int,
        stop_ids: frozenset[int],
        vocab_size: int,
        decode: Decode | None,
        mask: GrammarMask | None,
        wake: Callable[[], None],
    ) -> None:
        self.prompt, self.sampling, self.told = prompt, sampling, told
        self.priority, self.since, self.limit, self.wake = priority, since, limit, wake
        #: Positions that it may come to take.
        self.reserved = len(prompt.ids) + limit
        self.cancelled = self.ended = self.alone = False
        self.row: Any = None
        self.last = 0
        #: Ids of the answer so far.
        self.written: list[int] = []
        ends = stop_ids | frozenset(sampling.stop_ids)
        if sampling.ignore_eos:
            ends = frozenset(sampling.stop_ids)
        self.mask = mask
        self.chooser = Chooser(sampling, prompt.ids, vocab_size, ends, mask)
        self.detokenizer = Detokenizer(decode, prompt.ids) if decode is not None else None
        self.stopper = Stopper(sampling.stop)

    def cancel(self) -> None:
        self.cancelled = True
        self.wake()

    def so_far(self) -> Prompt | None:
        """The prompt with what has been written after it, where that can be read as one text; else None."""
        if not self.written:
            return self.prompt
        if not self.prompt.ids or self.prompt.features:
            return None
        return Prompt(ids=self.prompt.ids + self.written)

    def take(self, chosen: Chosen) -> bool:
        """Go on by that token, and tell of it. Whether the answer goes on."""
        token = chosen.token
        self.chooser.take(token)
        logprobs = [chosen.logprobs] if chosen.logprobs is not None else []
        if token in self.chooser.stop_ids:
            return self._end("stop", [], "", [])
        text = self.detokenizer.feed(token) if self.detokenizer is not None else ""
        shown = self.stopper.feed(text)
        if self.stopper.stopped:
            return self._end("stop", [token], shown, logprobs, flush=False)
        if self.mask is not None and self.mask.finished:
            return self._end("stop", [token], shown, logprobs)
        if self.chooser.written >= self.limit:
            return self._end("length", [token], shown, logprobs)
        self.last = token
        self.written.append(token)
        self.tell(Written(ids=[token], text=shown, logprobs=logprobs))
        return not self.ended

    def _end(self, reason: str, ids: list[int], text: str, logprobs: Any, *, flush: bool = True) -> bool:
        if flush:
            rest = self.detokenizer.flush() if self.detokenizer is not None else ""
            text += self.stopper.feed(rest)
            if self.stopper.stopped:
                reason = "stop"
            else:
                text += self.stopper.flush()
        self.tell(Written(ids=ids, text=text, finish_reason=reason, logprobs=logprobs))
        return False

    def whole(self, ids: list[int], reason: str) -> None:
        """An answer that was found as a whole (by a search)."""
        text = ""
        for token in ids:
            if self.detokenizer is not None and not self.stopper.stopped:
                text += self.stopper.feed(self.detokenizer.feed(token))
        self._end("stop" if self.stopper.stopped else reason, ids, text, [], flush=not self.stopper.stopped)

    def fail(self, error: BaseException) -> None:
        self.tell(Written(finish_reason="error", error=typed(error)))

    def tell(self, written: Written) -> None:
        """Tell, unless it is over or nobody wants to hear; a listener that fails hears no more."""
        if self.ended:
            return
        self.ended = written.finish_reason is not None
        if self.cancelled:
            return
        try:
            self.told(written)
        except Exception:
            self.ended = self.cancelled = True


def typed(error: BaseException) -> AccelerateError:
    """The error as one of ours."""
    if isinstance(error, AccelerateError):
        return error
    kind = MemoryExhausted if is_out_of_memory(error) else RuntimeUnavailable
    made = kind(f"the model failed while it was writing: {type(error).__name__}: {error}")
    made.__cause__ = error
    return made
