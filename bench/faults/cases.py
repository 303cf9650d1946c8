"""The sixteen faults: what the upstreams do, and which conduct counts as what.

A cell is one fault, asked as a stream or not, with a fallback target or without. Its grade:

- pass: rescued with clean conduct; or the clean error, where that is what was asked for;
- partial: the same with a blemish (an attempt too many or too early, a wait too long, the wrong name on the answer);
- safe: a clean error, in time, where a rescue was possible;
- fail: anything else: a truncated or garbled answer that looks whole, a call that outlives its deadline.

Times are shorter than in life, in the same proportions: first byte, first content and silence are limited to a second.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.simulator import Fault, Request, Simulator

__all__ = ["CASES", "LIMIT", "TEXT", "Case", "Cell", "Outcome", "grade", "upstream"]

#: Seconds: of the limits on first byte, first content and silence; of a whole call; and what a busy machine may add.
LIMIT = 1.0
DEADLINE = 12.0
GRACE = 1.5
TOKENS = 60
TEXT = " ".join(f"w{number}" for number in range(1, TOKENS + 1))
PRIMARY, FALLBACK = "primary-model", "fallback-model"
GRADES = ("pass", "partial", "safe", "fail")


@dataclass
class Outcome:
    """What one call came to, as its caller saw it."""

    text: str = ""
    finish_reason: str | None = None
    model: str = ""
    output_tokens: int = 0
    error: str = ""
    message: str = ""
    status: int | None = None
    retry_after: float | None = None
    seconds: float = 0.0
    #: At most these many were being held after the call (slots, keys, streams), where the contestant can tell.
    held: int = 0

    @property
    def whole(self) -> bool:
        return not self.error and self.text == TEXT and bool(self.finish_reason)


@dataclass
class Cell:
    """One fault asked in one way, with its upstreams and what happened."""

    case: Case
    stream: bool
    fallback: bool
    primary: Simulator
    backup: Simulator
    outcomes: list[Outcome] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    after: Outcome | None = None

    @property
    def name(self) -> str:
        how = "stream" if self.stream else "unary"
        return f"f{self.case.number}-{how}-{'with' if self.fallback else 'without'}"

    @property
    def asked(self) -> list[Request]:
        """What the primary was asked in the calls that count, and not in the healthy one after them."""
        return [each for each in _chats(self.primary) if each.t_start <= self.times[-1]]

    @property
    def rescued(self) -> list[Request]:
        return _chats(self.backup)

    def names(self, model: str) -> bool:
        """Whether the answer names this target: by its model, or by the gateway's own name for it."""
        said = self.last.model
        return model in said or said == (f"{self.name}-backup" if model == FALLBACK else self.name)

    @property
    def last(self) -> Outcome:
        return self.outcomes[-1]

    def gaps(self) -> list[float]:
        starts = [request.t_start for request in self.asked]
        return [later - earlier for earlier, later in itertools.pairwise(starts)]


def _chats(simulator: Simulator) -> list[Request]:
    """Without the lists of models and checks of health that some ask for."""
    return [request for request in simulator.requests if request.path.endswith("/chat/completions")]


Verdict = tuple[str, str]
"""A grade and the reason for it."""


@dataclass(frozen=True)
class Case:
    """One fault."""

    number: int
    title: str
    faults: Callable[[Cell], None]
    judge: Callable[[Cell], Verdict]
    streams_only: bool = False
    #: Calls one after the other, and the seconds between them; for a fault that lasts.
    calls: int = 1
    pause: float = 0.0
    #: How the fallback is set up: "" as an ordinary one, "context" for what does not fit into the first.
    kind: str = ""


def upstream(model: str) -> Simulator:
    """A healthy upstream. It goes on where a last message of the assistant ends, as some services do."""

    def reply(body: Any) -> str:
        messages = body.get("messages") or [{}] if isinstance(body, dict) else [{}]
        said = messages[-1].get("content") if messages[-1].get("role") == "assistant" else None
        return TEXT[len(said) :] if isinstance(said, str) and TEXT.startswith(said) else TEXT

    return Simulator("openai", tokens=TOKENS, reply=reply, models=[model], chunk_interval=0.002)


# --- judging -----------------------------------------------------------------------------------------------------


def _blemished(*checks: tuple[bool, str]) -> Verdict:
    wrong = [text for bad, text in checks if bad]
    return ("partial", "; ".join(wrong)) if wrong else ("pass", "")


def _not_whole(cell: Cell) -> Verdict:
    """The grade of an answer that is not whole."""
    seen = cell.last
    if seen.seconds > DEADLINE + GRACE:
        return "fail", f"took {seen.seconds:.1f} s of a deadline of {DEADLINE:.0f} s"
    if seen.error:
        return "safe", f"{seen.error}: {seen.message[:80]}"
    if not seen.text:
        return "fail", "an empty answer, and no error"
    return "fail", "garbled and no error" if len(seen.text) > len(TEXT) else "truncated and no error"


def _rescue(cell: Cell, *checks: tuple[bool, str]) -> Verdict:
    if not cell.last.whole:
        return _not_whole(cell)
    return _blemished((cell.last.seconds > DEADLINE, "past its deadline"), *checks)


def _error(cell: Cell, right: bool, *checks: tuple[bool, str]) -> Verdict:
    """A clean error is what is asked for."""
    seen = cell.last
    if not seen.error:
        return _not_whole(cell) if not seen.whole else ("partial", "an answer where an error was due")
    return _blemished((not right, f"another error: {seen.error} ({seen.status})"), *checks)


def _many(cell: Cell, most: int = 5) -> tuple[bool, str]:
    return len(cell.asked) > most, f"{len(cell.asked)} attempts"


def _rescued_by_fallback(cell: Cell, most: int, *checks: tuple[bool, str]) -> Verdict:
    return _rescue(
        cell,
        _many(cell, most),
        (not cell.names(FALLBACK), f"the answer says it is from {cell.last.model!r}"),
        *checks,
    )


def judge_1(cell: Cell) -> Verdict:
    early = [gap for gap in cell.gaps() if gap < 1.95]
    return _rescue(cell, (bool(early), f"asked again after {min(early, default=0):.2f} s of 2"), _many(cell, 2))


def judge_2(cell: Cell) -> Verdict:
    first = cell.asked[0].t_start
    soon = sum(request.t_start < first + 1.0 for request in cell.asked)
    checks = ((soon > 3, f"{soon} attempts in the first second"), _many(cell, 6))
    if cell.fallback:
        return _rescued_by_fallback(cell, 6, checks[0])
    return _error(cell, cell.last.status == 429, *checks)


def judge_3(cell: Cell) -> Verdict:
    return _rescue(cell, (bool(cell.rescued), "not answered by the same target"), _many(cell, 2))


def judge_4(cell: Cell) -> Verdict:
    if cell.fallback:
        return _rescued_by_fallback(cell, 4)
    return _error(cell, cell.last.status in (503, 502), _many(cell, 7))


def judge_5(cell: Cell) -> Verdict:
    return _rescue(cell, _many(cell, 2))


def judge_6(cell: Cell) -> Verdict:
    if cell.fallback:
        slow = cell.last.seconds > LIMIT + GRACE
        return _rescued_by_fallback(cell, 1, (slow, f"{cell.last.seconds:.1f} s for a limit of {LIMIT:.0f} s"))
    slow = cell.last.seconds > LIMIT + GRACE
    return _error(cell, True, _many(cell, 1), (slow, f"{cell.last.seconds:.1f} s for a limit of {LIMIT:.0f} s"))


def judge_7(cell: Cell) -> Verdict:
    if cell.fallback:
        slow = cell.last.seconds > LIMIT + GRACE
        return _rescued_by_fallback(cell, 1, (slow, f"{cell.last.seconds:.1f} s for a limit of {LIMIT:.0f} s"))
    return _rescue(cell, _many(cell, 1))


def judge_8(cell: Cell) -> Verdict:
    if cell.stream and not cell.fallback:
        return _error(cell, True, _many(cell, 1))
    return _rescue(cell, _many(cell, 2))


def judge_9(cell: Cell) -> Verdict:
    slow = (cell.last.seconds > 2 * LIMIT + GRACE, f"{cell.last.seconds:.1f} s for a limit of {LIMIT:.0f} s")
    if not cell.fallback and (cell.stream or cell.last.error):
        return _error(cell, True, _many(cell, 1), slow)
    return _rescue(cell, _many(cell, 2), slow)


def judge_10(cell: Cell) -> Verdict:
    return _rescue(cell, _many(cell, 1))


def judge_11(cell: Cell) -> Verdict:
    slow = cell.last.seconds > 1.5
    return _rescue(
        cell,
        (slow, f"finished after {cell.last.seconds:.1f} s"),
        (cell.last.output_tokens == 0, "without usage"),
        _many(cell, 1),
    )


def judge_12(cell: Cell) -> Verdict:
    if cell.fallback:
        return _rescued_by_fallback(cell, 1)
    told = "context" in (cell.last.message + cell.last.error).lower()
    return _error(cell, cell.last.status == 400 and told, _many(cell, 1))


def judge_13(cell: Cell) -> Verdict:
    told = "policy" in cell.last.message or "content" in cell.last.message.lower()
    asked_more = bool(cell.rescued)
    return _error(
        cell,
        cell.last.status == 400 and told,
        _many(cell, 1),
        (asked_more, "the fallback was asked what the policy refuses"),
    )


def judge_14(cell: Cell) -> Verdict:
    if cell.fallback and cell.last.error and cell.last.status == 400:
        return "fail", "the caller was told the fallback's 400"
    return judge_8(cell)


def judge_15(cell: Cell) -> Verdict:
    """Down for five seconds, a call every quarter of one; the breaker's rest is one second for all who have one."""
    begin, recovery = cell.times[0], cell.times[0] + DOWN
    down = [request for request in cell.asked if request.t_start < recovery]
    back = [request.t_start - recovery for request in cell.asked if request.t_start >= recovery]
    failed = [seen for seen in cell.outcomes if not seen.whole]
    if any(seen.seconds > DEADLINE + GRACE or (not seen.error and not seen.whole) for seen in cell.outcomes):
        return "fail", "a call that was neither answered nor refused"
    late = (not back or back[0] > 3.0, f"back on the primary after {back[0] if back else float('nan'):.1f} s")
    storm = (len(down) > 12, f"asked the dead target {len(down)} times in {recovery - begin:.0f} s")
    if cell.fallback:
        if failed:
            return "safe", f"{len(failed)} of {len(cell.outcomes)} calls failed"
        return _blemished(late, storm)
    healthy = [seen for ended, seen in zip(cell.times, cell.outcomes, strict=True) if ended > recovery + 3.0]
    unwell = [seen for seen in healthy if not seen.whole]
    return _blemished(late, storm, (bool(unwell), f"{len(unwell)} calls failed long after the recovery"))


def judge_16(cell: Cell) -> Verdict:
    if not cell.fallback:
        return judge_4(cell)
    wrong = cell.last.output_tokens != TOKENS
    return _rescued_by_fallback(cell, 4, (wrong, f"{cell.last.output_tokens} tokens in its usage, not {TOKENS}"))


# --- the faults --------------------------------------------------------------------------------------------------

DOWN = 5.0


def _script(*faults: Fault) -> Callable[[Cell], None]:
    return lambda cell: cell.primary.script(*faults)


def _always(fault: Fault) -> Callable[[Cell], None]:
    return lambda cell: cell.primary.always(fault)


def _cut(cell: Cell) -> None:
    cell.primary.script(Fault.cut(after=40))


def _silence(cell: Cell) -> None:
    cell.primary.script(Fault.silence(after=40))


def _refuses_continuation(cell: Cell) -> None:
    _cut(cell)
    cell.backup.always(
        Fault.status(400, message="the last message must be from the user"),
        when=lambda request: request.body["messages"][-1]["role"] == "assistant",
    )


def _down(cell: Cell) -> None:
    async def recover() -> None:
        await asyncio.sleep(DOWN)
        cell.primary.clear()

    cell.primary.always(Fault.status(503))
    cell.primary.loop.create_task(recover())  # the loop outlives it


CASES = [
    Case(1, "429 with Retry-After: 2, once", _script(Fault.status(429, retry_after=2)), judge_1),
    Case(2, "429 for ever, no Retry-After", _always(Fault.status(429)), judge_2),
    Case(3, "500 once", _script(Fault.status(500)), judge_3),
    Case(4, "503 for ever", _always(Fault.status(503)), judge_4),
    Case(5, "reset before any byte", _script(Fault.reset()), judge_5),
    Case(6, "accepts and never answers", _always(Fault.hang()), judge_6),
    Case(7, "headers at once, content late", _always(Fault.stall(seconds=4.0)), judge_7),
    Case(8, "dies after 40 of 60 tokens", _cut, judge_8),
    Case(9, "silent after 40 of 60 tokens", _silence, judge_9),
    Case(
        10, "one event of invalid JSON", _script(Fault.bad_json(at=20, data="{not json")), judge_10, streams_only=True
    ),
    Case(11, "no [DONE]", _script(Fault.no_done()), judge_11, streams_only=True),
    Case(12, "context too long", _always(Fault.context_length_exceeded()), judge_12, kind="context"),
    Case(13, "refused by content policy", _always(Fault.content_policy_violation()), judge_13),
    Case(14, "dies; fallback refuses prefill", _refuses_continuation, judge_14),
    Case(15, "down, then healthy again", _down, judge_15, calls=40, pause=0.25),
    Case(16, "503 for ever: whose answer?", _always(Fault.status(503)), judge_16),
]


def grade(cell: Cell) -> Verdict:
    """The cell's grade and why. What is left behind, and a call after it that fails, spoil the best of conduct."""
    found, why = cell.case.judge(cell)
    if found == "fail":
        return found, why
    if cell.after is not None and not cell.after.whole:
        return "fail", f"the next healthy call failed: {cell.after.error or 'not whole'} {cell.after.message[:60]}"
    if any(seen.held for seen in cell.outcomes):
        return "partial", (why + "; " if why else "") + "something is still held"
    return found, why
