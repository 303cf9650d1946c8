"""Requests about a job, made through the client that it belongs to: its queue, retries, breaker and keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ipfs_accelerate_py.batch_jobs.host import Host
from ipfs_accelerate_py.batch_jobs.manifest import Manifest
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import Call, Operation, RawRequest, Reply

__all__ = ["Asking", "NoBatchApi"]


class NoBatchApi(Exception):  # it says what is so, and leads to another way
    """The service that was asked has no batch API; nothing was handed in."""


class Asking:
    """Asks with the key that the job belongs to: files and jobs are of the account of the key that made them."""

    def __init__(self, host: Host, manifest: Manifest, options: dict[str, Any]) -> None:
        self._host = host
        self._manifest = manifest
        self._options = options

    async def __call__(
        self, request: RawRequest, headers: dict[str, str] | None = None, *, first: bool = False, once: bool = False
    ) -> Reply:
        """``first`` may find out that there is no batch API; ``once`` is for what must not be made twice."""
        call = self._prepared(request, headers)
        if once:
            request.once, call.patience = True, 0.0  # no second attempt in silence: it might make a second job
        try:
            reply = await self._host.send(call)
        except InvalidRequest as error:
            if first and error.status in (404, 405, 501):
                raise NoBatchApi from error
            raise
        names: list[str] = getattr(self._host, "api_key_names", [])
        if not self._manifest.key and reply.key_name in names:
            self._manifest.key = reply.key_name or ""
        return reply

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a file, as they come."""
        call = self._prepared(RawRequest(path, method="GET"), None, stream=True)
        call.deadline = None  # as long as it takes; each silence has its own limit
        reply = await self._host.send(call)
        assert reply.stream is not None
        async with reply.stream as stream:
            async for chunk in stream:
                yield chunk.data

    def _prepared(self, request: RawRequest, headers: dict[str, str] | None, *, stream: bool = False) -> Call:
        options = dict(self._options)
        if headers:
            options["headers"] = {**(options.get("headers") or {}), **headers}
        if self._manifest.key in getattr(self._host, "api_key_names", []):
            options["api_key_name"] = self._manifest.key
        return self._host._call(Operation.RAW, options, lambda rest: request, stream=stream)
