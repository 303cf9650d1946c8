"""Continuous batching: requests join and leave a model's batch at any step.

One thread a model. Each turn of it lets waiting requests in, reads a piece of a prompt, and gives every row that is
being written one token. Long prompts are read in pieces between the steps of the others, and rows that are being read
take turns, so none stalls the rest for long. (Orca: Yu et al., OSDI 2022; chunked prefill: Agrawal et al., OSDI 2024.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .accepting import accept
from .base import Prompt, Sampling, Written
from .constraints import Constraints
from .detokenizing import Decode
from .sampling import Chosen, choose
from .steps import StepModel
from .underway import Underway
from .waiting import Waiting

__all__ = ["Batcher"]


class Batcher:
    """See `Generator`.

    Args:
        steps: the model.
        decode: ids to text, without special tokens; None tells ids alone.
        stop_ids: what ends an answer (the model's own).
        constraints: grammars by this model's tokenizer; None where there is no tokenizer.
        rows: most requests that are read or written at once.
        budget: most positions of all of them together, counting what each may still write; None for no limit.
        piece: positions of prompts that are read between two steps of what is being written.
        most_tokens: of an answer whose request names no limit, on models that have none.
        ageing: seconds of waiting that count as much as one priority.
        clock: seconds, for tests.
        start: whether a thread works it; else who made it calls `turn`.
    """

    def __init__(
        self,
        steps: StepModel,
        *,
        decode: Decode | None = None,
        stop_ids: Iterable[int] = (),
        constraints: Constraints | None = None,
        rows: int = 16,
        budget: int | None = None,
        piece: int = 256,
        most_tokens: int = 8192,
        ageing: float = 5.0,
        name: str = "model",
        clock: Callable[[], float] = time.monotonic,
        start: bool = True,
    ) -> None:
        self.max_positions = steps.max_positions
        self.steps = steps
        self._decode, self._stop_ids, self._constraints = decode, frozenset(stop_ids), constraints
        self._rows, self._budget, self._piece, self._most_tokens = rows, budget, piece, most_tokens
        self._clock = clock
        self._waiting: Waiting[Underway] = Waiting(ageing)
        self._reading: list[Underway] = []
        self._writing: list[Underway] = []
        self._changed = threading.Condition()
        self._closed = False
        self._woken = False
        self._counts = dict.fromkeys(
            ("requests", "tokens", "prompt_tokens", "steps", "batched_steps", "tried_alone", "failed"), 0
        )
        self._thread = threading.Thread(target=self._work, name=f"generate-{name}", daemon=True) if start else None
        if self._thread is not None:
            self._thread.start()

    # --- from any thread ---------------------------------------------------------------------------------------------

    def submit(
        self, prompt: Prompt, sampling: Sampling, told: Callable[[Written], None], *, priority: int = 1
    ) -> Underway:
        room, mask = accept(self.steps, self._constraints, prompt, sampling)
        request = Underway(
            prompt,
            sampling,
            told,
            priority=priority,
            since=self._clock(),
            limit=min(room, self._most_tokens if sampling.max_tokens is None else sampling.max_tokens),
            stop_ids=self._stop_ids,
            vocab_size=self.steps.vocab_size,
            decode=self._decode,
            mask=mask,
            wake=self._wake,
        )
        request.row = self.steps.open(prompt)
        with self._changed:
            if self._closed:
                self.steps.release(request.row)
                raise RuntimeUnavailable("the model is being unloaded")
            self._waiting.add(request)
            self._counts["requests"] += 1
            self._changed.notify()
        return request

    def snapshot(self) -> Mapping[str, Any]:
        with self._changed:
            found: dict[str, Any] = dict(self._counts)
            found.update(
                waiting=len(self._waiting),
                running=len(self._reading) + len(self._writing),
                batched=round(found["batched_steps"] / found["steps"], 4) if found["steps"] else 0.0,
            )
        found.update(self.steps.snapshot())
        return found

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is None:
            self._end_all()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    # --- the batcher's own thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._woken or self._waiting or self._reading or self._writing):
                    self._changed.wait()
                self._woken = False
                if self._closed:
                    break
            try:
                self.turn()
            except BaseException as exc:  # the engine cannot even let its rows go, or a panic of Rust's: all are lost
                for each in [*self._reading, *self._writing]:
                    self._fail(each, exc)
                self._reading, self._writing = [], []
                self.steps.close()
        self._end_all()

    def _end_all(self) -> None:
        with self._changed:
            left = [*self._reading, *self._writing, *self._waiting.clear()]
            self._reading, self._writing = [], []
        for request in left:
            self.steps.release(request.row)
            request.fail(RuntimeUnavailable("the model was unloaded before the answer was written"))
        self.steps.close()

    def turn(self) -> bool:
        """One round: let in, read, step. Whether anything is under way afterwards."""
        self._drop_cancelled()
        self._let_in()
        if self._reading:
            self._read()
        if self._writing:
            self._step()
        return bool(self._waiting or self._reading or self._writing)

    def _drop_cancelled(self) -> None:
        with self._changed:
            gone = self._waiting.drop()
        for group in (self._reading, self._writing):
            gone += [each for each in group if each.cancelled]
            group[:] = [each for each in group if not each.cancelled]
        for request in gone:
            self.steps.release(request.row)

    def _fits(self, request: Underway) -> bool:
        running = [*self._reading, *self._writing]
        if not running:
            return True
        held = sum(each.reserved for each in running)
        within = self._budget is None or held + request.reserved <= self._budget
        return len(running) < self._rows and within

    def _let_in(self) -> None:
        while True:
            with self._changed:
                request = self._waiting.first(self._fits)
            if request is None:
                return
            if request.sampling.beams > 1:
                self._search(request)
            else:
                self._reading.append(request)

    def _search(self, request: Underway) -> None:
        """Beams are one search of the whole answer; the others wait for it."""
        try:
            ids, reason = self.steps.search(request.prompt, request.sampling, request.limit)  # type: ignore[attr-defined]
            self._counts["tokens"] += len(ids)
            request.whole(ids, reason)
        except Exception as exc:
            self._fail(request, exc)
        self.steps.release(request.row)

    def _read(self) -> None:
        order = sorted(self._reading, key=lambda each: each.priority)  # stable: in turn among equals
        chosen = order[:1] if order[0].alone or not self.steps.together else [each for each in order if not each.alone]
        before = [each.row.length for each in chosen]
        # While nobody waits for a step, pieces are large, but not so large that cancelling would take long.
        most = self._piece if self._writing else 8 * self._piece
        try:
            found = self.steps.prefill([each.row for each in chosen], most)
        except Exception as exc:
            self._read_failed(chosen, exc)
            return
        touched = [each for each, length in zip(chosen, before, strict=True) if each.row.length > length]
        self._counts["prompt_tokens"] += sum(each.row.length for each in chosen) - sum(before)
        done = [(each, logits) for each, logits in zip(chosen, found, strict=True) if logits is not None]
        ready = {id(each) for each, _ in done}
        # Who has had a turn goes behind those of the same priority.
        moved = {id(each) for each in touched}
        rest = [each for each in self._reading if id(each) not in ready]
        self._reading = [each for each in rest if id(each) not in moved] + [each for each in rest if id(each) in moved]
        for each, logits in done:
            self._writing.append(each)
            self._take([each], logits[None])

    def _read_failed(self, chosen: list[Underway], error: Exception) -> None:
        # Whose fault it was is not known of several: each is tried alone, from its beginning.
        for each in chosen:
            if len(chosen) == 1:
                self._reading.remove(each)
                self._fail(each, error)
            self.steps.release(each.row)
            if len(chosen) > 1:
                each.alone, each.row = True, self.steps.open(each.so_far() or each.prompt)

    def _step(self) -> None:
        groups = [self._writing] if self.steps.together else [[each] for each in self._writing]
        for group in groups:
            rows = list(group)
            try:
                logits = self.steps.step([each.row for each in rows], [each.last for each in rows])
            except Exception as exc:
                self._step_failed(rows, exc)
                continue
            self._counts["steps"] += 1
            self._counts["batched_steps"] += len(rows) > 1
            self._take(rows, logits)

    def _step_failed(self, rows: list[Underway], error: Exception) -> None:
        """Each of several rows is tried alone; whose step fails then, fails."""
        alone = len(rows) == 1
        self._counts["tried_alone"] += len(rows) * (not alone)
        if not alone and getattr(self.steps, "steady", False):
            for each in rows:
                try:
                    logits = self.steps.step([each.row], [each.last])
                except Exception as exc:
                    self._fail(each, exc)
                    self._leave(each)
                else:
                    self._take([each], logits)
            return
        for each in rows:
            prompt = None if alone else each.so_far()
            if prompt is None:
                self._fail(each, error)
            self._leave(each)
            if prompt is None:
                continue
            each.alone, each.row = True, self.steps.open(prompt)
            self._reading.append(each)

    def _take(self, rows: list[Underway], logits: Any) -> None:
        """A token for each row, by its logits."""
        for request, chosen in zip(rows, choose(logits, [each.chooser for each in rows]), strict=True):
            try:
                if not isinstance(chosen, Chosen):
                    raise chosen
                self._counts["tokens"] += 1
                if not request.take(chosen):
                    self._leave(request)
            except BaseException as exc:
                self._fail(request, exc)
                self._leave(request)

    def _leave(self, request: Underway) -> None:
        if request in self._writing:
            self._writing = [each for each in self._writing if each is not request]
        self.steps.release(request.row)

    def _fail(self, request: Underway, error: BaseException) -> None:
        self._counts["failed"] += 1
        request.fail(error)
