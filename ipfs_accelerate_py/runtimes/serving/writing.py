"""One input of a writing task: its prompts through the generator, and what they make needed, to its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.results import TaskResult
from ipfs_accelerate_py.runtimes.generation.base import Answer, Generator, Prompt, Sampling, Ticket, Writing, Written
from ipfs_accelerate_py.types import Chunk, Usage

from .bridging import Told, outcome
from .jobs import Job

__all__ = ["Wrote", "stream_one", "write_one"]

Asked = tuple[Prompt, Sampling]


@dataclass(frozen=True, slots=True)
class Wrote:
    """One input's result, and tokens of its prompts and answers."""

    result: TaskResult
    input_tokens: int
    output_tokens: int


async def write_one(
    generator: Generator, work: Writing, given: Any, options: Mapping[str, Any], priority: int
) -> Wrote:
    """Answer all prompts of one input side by side, and those that the answers make needed after them."""
    asked = await asyncio.to_thread(work.prompts, given, options)
    follow = getattr(work, "follow", None)
    answers: list[Answer] = []
    while len(answers) < len(asked):
        answers += await _answer(generator, asked[len(answers) :], priority)
        if follow is not None:
            asked = [*asked, *await asyncio.to_thread(follow, answers, asked, options)]
    result = await asyncio.to_thread(work.join, answers, asked, options)
    return Wrote(result, sum(len(prompt.ids) for prompt, _ in asked), sum(len(answer.ids) for answer in answers))


async def _answer(generator: Generator, asked: list[Asked], priority: int) -> list[Answer]:
    whole = [_Whole() for _ in asked]
    tickets: list[Ticket] = []
    try:
        for (prompt, sampling), each in zip(asked, whole, strict=True):
            tickets.append(generator.submit(prompt, sampling, each.hear, priority=priority))
        return [await outcome(each.future) for each in whole]
    except BaseException:
        for ticket in tickets:
            ticket.cancel()
        raise


class _Whole:
    """One answer as it comes, and a future of the whole."""

    def __init__(self) -> None:
        self.future: Future[Answer] = Future()
        self._answer = Answer([], "", "stop")
        self._text: list[str] = []

    def hear(self, written: Written) -> None:
        self._answer.ids += written.ids
        self._text.append(written.text)
        if written.finish_reason is None or not self.future.set_running_or_notify_cancel():
            return
        if written.finish_reason == "error":
            self.future.set_exception(written.error or RuntimeUnavailable("the generator failed"))
            return
        self._answer.text = "".join(self._text)
        self._answer.finish_reason = written.finish_reason
        self.future.set_result(self._answer)


async def stream_one(generator: Generator, work: Writing, job: Job) -> AsyncGenerator[Chunk, None]:
    """The answer to a job's only input as it is written.

    Raises `InvalidRequest` for an input of several prompts (a long recording): its parts are not the result.
    """
    asked = await asyncio.to_thread(work.prompts, job.inputs[0], job.options)
    if len(asked) != 1 or hasattr(work, "follow"):
        raise InvalidRequest(f"{job.task or 'this task'} is not streamed here", status=400, param="stream")
    prompt, sampling = asked[0]
    told: Told[Written] = Told(lambda written: written.finish_reason is not None)
    count = 0
    async for written in told.items(lambda tell: generator.submit(prompt, sampling, tell, priority=job.priority)):
        if written.error is not None:
            raise written.error
        count += len(written.ids)
        ended = written.finish_reason is not None
        usage = Usage(input_tokens=len(prompt.ids), output_tokens=count, reported=True) if ended else None
        if written.text or ended:
            yield Chunk(text=written.text, finish_reason=written.finish_reason, usage=usage)
