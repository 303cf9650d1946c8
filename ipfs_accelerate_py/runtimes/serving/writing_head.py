"""Tasks that write: one generator for all prompts of all of them, and chat in OpenAI's words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from importlib import import_module
from typing import Any, cast

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.results import TaskResult, Text
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Network, Source
from ipfs_accelerate_py.runtimes.generation.base import Conversation, Generator, Writing
from ipfs_accelerate_py.runtimes.generation.making import make_conversation, make_generator
from ipfs_accelerate_py.runtimes.generation.options import as_completion
from ipfs_accelerate_py.runtimes.generation.writing import TOKENS
from ipfs_accelerate_py.runtimes.processing.base import Context
from ipfs_accelerate_py.runtimes.processing.registry import WRITING
from ipfs_accelerate_py.types import Chunk, Usage

from .bridging import Told
from .forward_head import describe
from .gathering import gather_chunks
from .jobs import CONVERSING, Done, Job
from .writing import stream_one, write_one

__all__ = ["WritingHead"]


class WritingHead:
    """See `Head`."""

    def __init__(self, name: str, network: Network, source: Source, context: Context | None, plan: LoadPlan) -> None:
        self.described = describe(network)
        self._name = name
        self._network = network
        self._source = source
        self._context = context
        self._plan = plan
        self._making = threading.Lock()
        self._works: dict[str, Writing] = {}
        # An engine that has both, template and generator, needs neither of ours (llama.cpp).
        own = getattr(network, "conversation", None)
        self._generator: Generator | None = None if own is not None else make_generator(network, source, plan)
        self._conversation: Conversation | None = own() if own is not None else None

    def ready(self, task: str) -> bool:
        if task in CONVERSING or self._generator is None:
            return self._conversation is not None
        return task in self._works

    def prepare(self, task: str) -> None:
        with self._making:
            if self.ready(task):
                return
            if task in CONVERSING:
                assert self._generator is not None
                self._conversation = make_conversation(self._generator, self._source, self._plan)
                return
            module, kind = WRITING[task]
            made = getattr(import_module(f"ipfs_accelerate_py.runtimes.{module}"), kind)
            self._works[task] = cast(Writing, made(self._context))

    async def run(self, task: str, job: Job) -> Done:
        if task == "count":
            counted = await asyncio.to_thread(self._talk.count, job.inputs, job.options)
            return Done(input_tokens=[counted])
        if task in CONVERSING:
            return gather_chunks([chunk async for chunk in self.stream(task, job)])
        if self._generator is None:
            return await self._texts(task, job)
        return await self._write(task, job)

    async def stream(self, task: str, job: Job) -> AsyncGenerator[Chunk, None]:
        if task in CONVERSING:
            told: Told[Chunk] = Told(_ends)
            begin = self._begin(task, job)
            async for chunk in told.items(begin):
                yield chunk
            return
        if self._generator is None or len(job.inputs) != 1:
            if len(job.inputs) != 1:
                raise InvalidRequest("a streaming call takes one input", status=400, param="input")
            async for chunk in self.stream("completion", _completion(job, job.inputs[0])):
                yield chunk
            return
        async for chunk in stream_one(self._generator, self._works[task], job):
            yield chunk

    def snapshot(self) -> Mapping[str, Any]:
        writer = self._generator or self._conversation
        return writer.snapshot() if writer is not None else {}

    def close(self) -> None:
        for each in (self._conversation, self._generator):
            if each is not None:
                each.close()
        self._works.clear()
        self._network.close()

    @property
    def _talk(self) -> Conversation:
        assert self._conversation is not None
        return self._conversation

    def _begin(self, task: str, job: Job) -> Callable[[Callable[[Chunk | Exception], None]], Any]:
        if task == "chat":
            return lambda tell: self._talk.chat(job.inputs, job.options, tell, priority=job.priority)
        if task == "count":
            raise UnsupportedOperation("a count is not written bit by bit: call it without streaming")
        if len(job.inputs) != 1:
            raise InvalidRequest("a completion takes one prompt", status=400, param="prompt")
        return lambda tell: self._talk.complete(job.inputs[0], job.options, tell, priority=job.priority)

    async def _write(self, task: str, job: Job) -> Done:
        assert self._generator is not None
        work, generator = self._works[task], self._generator
        try:
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(write_one(generator, work, given, job.options, job.priority))
                    for given in job.inputs
                ]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        done = [each.result() for each in running]
        return Done(
            results=[each.result for each in done],
            input_tokens=[each.input_tokens for each in done],
            output_tokens=sum(each.output_tokens for each in done),
        )

    async def _texts(self, task: str, job: Job) -> Done:
        """A typed task of an engine that only converses: its completions as texts."""
        whole: list[TaskResult] = []
        usages: list[Usage] = []
        for given in job.inputs:
            told = self.stream("completion", _completion(job, given))
            done = gather_chunks([chunk async for chunk in told])
            if done.chunk is None:
                raise RuntimeUnavailable(f"model {self._name!r} wrote nothing")
            whole.append(Text(done.chunk.text, done.chunk.finish_reason or "stop"))
            usages.append(done.chunk.usage or Usage())
        return Done(
            results=whole,
            input_tokens=[each.input_tokens for each in usages],
            output_tokens=sum(each.output_tokens for each in usages),
        )


def _completion(job: Job, given: Any) -> Job:
    """One input of a typed task, for an engine that only converses."""
    return Job(task="completion", inputs=[given], options=as_completion(job.options, TOKENS), priority=job.priority)


def _ends(chunk: Chunk) -> bool:
    """Whether it is the last: that has the usage, and comes when every choice has ended."""
    return chunk.usage is not None and chunk.finish_reason is not None
