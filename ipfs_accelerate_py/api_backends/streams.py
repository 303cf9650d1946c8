"""Streaming answers of the older API: dictionaries with ``text`` and ``done``, for ``for`` and for ``async for``.

Each piece has ``text`` (also ``reasoning``, ``refusal``, and ``index``, the choice it belongs to). One with ``restart``
says that the answer begins anew, and that the pieces before it are to be thrown away; only routers send it. The last
has ``done`` True, no text, and what is known at the end: ``finish_reason``, ``usage``, ``model`` and the whole
``tool_calls``. It comes only after a complete answer: one that breaks off raises its error instead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

from ipfs_accelerate_py.api_backends.results import tool_calls, usage
from ipfs_accelerate_py.api_backends.tickets import Pending
from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.reply_stream import ReplyStream
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.sync import SyncReplyStream
from ipfs_accelerate_py.types import Chunk

__all__ = ["AsyncPieces", "Pieces"]


class _Pieces:
    """The translation that both kinds share."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self._collector = Collector()
        self._over = False

    def _piece(self, chunk: Chunk) -> dict[str, Any] | None:
        self._collector.add(chunk)
        if not (chunk.text or chunk.reasoning or chunk.refusal or chunk.restart):
            return None
        began_anew = {"restart": True} if chunk.restart else {}
        return {
            **began_anew,
            "text": chunk.text,
            "reasoning": chunk.reasoning,
            "refusal": chunk.refusal,
            "index": chunk.index,
            "done": False,
        }

    def _last(self) -> dict[str, Any]:
        self._over = True
        whole = self._collector.reply()
        return {
            "text": "",
            "reasoning": "",
            "refusal": "",
            "index": 0,
            "done": True,
            "finish_reason": whole.finish_reason,
            "model": whole.model,
            "tool_calls": tool_calls(whole.tool_calls),
            "usage": usage(whole.usage),
            "request_id": self.request_id,
        }


class Pieces(_Pieces):
    """Iterate over it. ``with``, or ``close()``, lets go of a stream that is left early."""

    def __init__(self, stream: SyncReplyStream) -> None:
        super().__init__(stream.request_id)
        self._stream = stream

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._over:
            raise StopIteration
        try:
            for chunk in self._stream:
                piece = self._piece(chunk)
                if piece is not None:
                    return piece
        except BaseException as error:
            # A broken answer must not be followed by a last piece that says it is done.
            closed, self._over = self._over, True
            if closed and isinstance(error, asyncio.CancelledError):
                raise StopIteration from None
            raise
        if self._over:  # closed from another thread: it ended, and not by being complete
            raise StopIteration
        return self._last()

    def close(self) -> None:
        self._over = True
        self._stream.close()

    def __enter__(self) -> Pieces:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncPieces(_Pieces):
    """Iterate over it with ``async for``. ``async with``, or ``aclose()``, lets go of a stream that is left early.

    What has arrived crosses between the loops in one go, and nothing is read ahead of the caller, so a slow one slows
    the upstream down.
    """

    def __init__(self, portal: Portal, stream: ReplyStream) -> None:
        super().__init__(stream.request_id)
        self._portal = portal
        self._stream = stream
        self._arrived: deque[Chunk] = deque()

    def __aiter__(self) -> AsyncPieces:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._over:
            while self._arrived:
                piece = self._piece(self._arrived.popleft())
                if piece is not None:
                    return piece
            try:
                batch = await Pending(self._portal, self._stream.next_batch)
            except BaseException:
                self._leave()
                raise
            if not batch and not self._over:
                return self._last()
            self._arrived.extend(batch)
        raise StopAsyncIteration

    def _leave(self) -> None:
        self._over = True
        self._arrived.clear()
        with contextlib.suppress(RuntimeError):  # the loop has closed, and the stream with it
            self._portal.loop.call_soon_threadsafe(self._stream.abort)

    async def aclose(self) -> None:
        self._leave()

    async def __aenter__(self) -> AsyncPieces:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._leave()
