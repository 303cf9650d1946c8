"""Objects in any S3-compatible store, and models as verified wholes: the service behind ``s3_kit``.

It stands where other backends have a dialect and a transport, so the queue, retries and breaker in front of it are the
same; obstore (an optional dependency) speaks to the store.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ipfs_accelerate_py.backends.s3.access import Access
from ipfs_accelerate_py.backends.s3.models import Models
from ipfs_accelerate_py.backends.s3.names import check_bucket
from ipfs_accelerate_py.backends.s3.objects import Objects
from ipfs_accelerate_py.backends.s3.transfer import Target
from ipfs_accelerate_py.backends.spec import BackendSpec
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ReadTimeout, UnsupportedOperation
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Operation, Reply, StoreRequest

__all__ = ["VERBS", "S3Service"]

#: The verbs, and which of the two classes has each.
VERBS: dict[str, type[Objects] | type[Models]] = {
    "upload_file": Objects,
    "download_file": Objects,
    "list_objects": Objects,
    "delete_object": Objects,
    "head_object": Objects,
    "create_presigned_url": Objects,
    "upload_model": Models,
    "download_model": Models,
    "list_models": Models,
}
#: Buckets that are kept open at once.
MOST_OPEN = 32


class S3Service:
    """``async (Call) -> Reply`` for `Operation.STORE`; the verb's result is ``reply.raw``."""

    def __init__(self, spec: BackendSpec, base_url: str, options: Mapping[str, Any]) -> None:
        self.spec = spec
        self._options = options
        self._access = Access(base_url, options)
        self._settings = Settings()
        self._open: dict[tuple[str, float | None, float | None], Target] = {}

    def bind(self, settings: Settings) -> None:
        """The settings whose limits of time hold, read at each call."""
        self._settings = settings

    async def __call__(self, call: Call) -> Reply:
        request = call.request
        if call.operation is not Operation.STORE or not isinstance(request, StoreRequest):
            raise UnsupportedOperation(
                f"a store of objects has no operation {call.operation}; its verbs are: {', '.join(VERBS)}"
            )
        verb = self._verb(call, request)
        left = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
        try:
            async with asyncio.timeout(left) as limit:
                raw = await verb()
        except TimeoutError:
            if not limit.expired():
                raise
            error = ReadTimeout(f"{request.verb} took longer than the call was allowed to")
            error.backend = self.spec.name
            raise error from None
        except BackendError as error:
            error.backend = self.spec.name
            raise
        return Reply(backend=self.spec.name, raw=raw)

    def _verb(self, call: Call, request: StoreRequest) -> Callable[[], Awaitable[dict[str, Any]]]:
        kind = VERBS.get(request.verb)
        if kind is None:
            raise UnsupportedOperation(
                f"a store of objects has no verb {request.verb!r}; its verbs are: {', '.join(VERBS)}"
            )
        arguments = {**request.arguments, **request.options}
        given = arguments.pop("bucket", None)
        target = self._target(check_bucket(given or self._options.get("bucket")), call)
        sizes = {"part_size": self._whole("part_size"), "parts_at_once": self._whole("parts_at_once")}
        objects = Objects(target, **sizes)
        owner: Objects | Models = objects
        if kind is Models:
            owner = Models(target, objects, prefix=self._prefix(), parallel=self._whole("parallel"), **sizes)
        function = getattr(owner, request.verb)
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as problem:
            raise ConfigurationError(f"{request.verb}: {problem}") from None
        return lambda: function(**arguments)

    def _target(self, bucket: str, call: Call) -> Target:
        timeouts = call.timeouts or self._settings.timeouts
        name = (bucket, timeouts.connect, timeouts.idle)
        target = self._open.get(name)
        if target is None:
            while len(self._open) >= MOST_OPEN:
                del self._open[next(iter(self._open))]
            target = self._open[name] = Target(self._access.open(bucket, timeouts), bucket, self._access.keys())
        return target

    def _whole(self, option: str) -> int:
        value = self._options[option]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(f"{option} must be a whole number above 0, not {value!r}")
        return value

    def _prefix(self) -> str:
        prefix = self._options.get("models_prefix") or ""
        if not isinstance(prefix, str) or prefix.startswith("/"):
            raise ConfigurationError(f"models_prefix must be the beginning of a key, not {prefix!r}")
        return prefix if not prefix or prefix.endswith("/") else prefix + "/"

    def snapshot(self) -> dict[str, Any]:
        """The buckets that are open."""
        return {"buckets": sorted({bucket for bucket, _, _ in self._open})}

    async def aclose(self) -> None:
        """Let go of the connections; a later call opens new ones."""
        self._open.clear()
