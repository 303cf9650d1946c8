"""One measured call: makes it, reads the answer, and notes when each piece of it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ipfs_accelerate_py.bench.load.mix import Mix
from ipfs_accelerate_py.bench.load.samples import Sample
from ipfs_accelerate_py.bench.load.targets import LoadTarget
from ipfs_accelerate_py.calls import make_call
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError
from ipfs_accelerate_py.types import Call, Chunk, Operation, Reply, Usage

__all__ = ["Calls"]


class Calls:
    """Makes the calls of a load at one target; a `Caller` of the runner.

    Args:
        stream: ask for the answers as they are written; embeddings always come in one piece.
        timeout: seconds for a call from when it is made, as the client's own limit.

    Attributes:
        said: the first message of each class of error, without secrets.
        model: as the last answer names it.
    """

    def __init__(
        self,
        target: LoadTarget,
        mix: Mix,
        *,
        stream: bool = True,
        timeout: float | None = None,
        options: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = target
        self.mix = mix
        self.stream = stream and mix.operation is not Operation.EMBED
        self.said: dict[str, str] = {}
        self.model = ""
        self._given: dict[str, Any] = {**(options or {}), **({} if timeout is None else {"timeout": timeout})}
        self._clock = clock
        #: Every call of a session is another request, also in the next step.
        self.offset = 0

    async def __call__(self, sample: Sample) -> None:
        try:
            await self._make(sample)
        except ConfigurationError:
            raise  # wrong use: every other call would be wrong in the same way
        except AccelerateError as error:
            sample.ended = self._clock()
            sample.attempts = getattr(error, "attempts", 1)
            sample.error = _class(error)
            if sample.error not in self.said:
                self.said[sample.error] = self.target.without_secrets(" ".join(str(error.message).split())[:300])

    async def _make(self, sample: Sample) -> None:
        call = self._call(sample.number + self.offset)
        reply = await self.target.send(call)
        if reply.stream is None:
            sample.ended = self._clock()
            usage = reply.usage
        else:
            usage = await self._read(reply, sample)
        sample.attempts = max(1, reply.attempts)
        sample.counted = usage.reported
        if usage.reported:
            sample.input_tokens, sample.output_tokens = usage.input_tokens, usage.output_tokens
        self.model = reply.model or self.model

    async def _read(self, reply: Reply, sample: Sample) -> Usage:
        stream = reply.stream
        assert stream is not None
        last = 0.0
        pieces = 0
        async with stream:
            while batch := await stream.next_batch():
                now = self._clock()
                for chunk in batch:
                    if not _content(chunk):
                        continue
                    pieces += 1
                    if sample.first is None:
                        sample.first = now
                    else:
                        sample.gaps.append(now - last)
                    last = now
            sample.ended = self._clock()
            usage = stream.usage
        sample.output_tokens = pieces
        return usage

    def _call(self, number: int) -> Call:
        def made(rest: dict[str, Any]) -> Any:
            return self.mix.request(self.target.model, number)

        return make_call(self.target.settings, self.mix.operation, dict(self._given), made, stream=self.stream)

    async def check(self, count: int) -> None:
        """Warm up: so many calls, one after another, that are no part of the figures. Raises the first one's error."""
        for number in range(count):
            sample = Sample(-1 - number, self._clock())
            await self._make(sample)


def _content(chunk: Chunk) -> bool:
    return bool(chunk.text or chunk.reasoning or chunk.refusal or chunk.tool_calls or chunk.images)


def _class(error: AccelerateError) -> str:
    status = getattr(error, "status", None)
    refused = status is not None and status >= 400  # else what went wrong came after the status
    return type(error).__name__ + (f" {status}" if refused else "")
