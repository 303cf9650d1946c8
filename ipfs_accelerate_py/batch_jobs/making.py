"""How a job begins: from requests, from its manifest, or from a provider's id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.batch_jobs.asking import NoBatchApi
from ipfs_accelerate_py.batch_jobs.calls import CallsRun
from ipfs_accelerate_py.batch_jobs.items import read_item, store_item
from ipfs_accelerate_py.batch_jobs.job import BatchJob
from ipfs_accelerate_py.batch_jobs.manifest import Manifest, Part, Place, new_id
from ipfs_accelerate_py.batch_jobs.provider import ProviderRun
from ipfs_accelerate_py.batch_jobs.spool import Requests, Results
from ipfs_accelerate_py.dialects.batches import BatchFormat
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, UnsupportedOperation

__all__ = ["Preparation", "adopt", "begin", "resume"]

_OPTIONS = frozenset(("tenant", "tags", "headers", "timeout", "api_key_name"))
_WAYS = ("auto", "provider", "calls")
#: Requests upstream at once, at most.
_MOST_AT_ONCE = 1024


class Preparation:
    """Requests on their way to be a job: each checked and on disk, none sent."""

    def __init__(
        self,
        host: Any,
        model: str,
        via: str,
        window: str,
        manifest: str | os.PathLike[str] | None,
        concurrency: int,
        options: Mapping[str, Any],
    ) -> None:
        unknown = sorted(options.keys() - _OPTIONS)
        if unknown:
            raise ConfigurationError(
                f"a batch has no option {unknown[0]!r}; it takes {', '.join(sorted(_OPTIONS))}, "
                "and what is asked stands in its requests"
            )
        if via not in _WAYS:
            raise ConfigurationError(f"via must be one of {', '.join(_WAYS)}, not {via!r}")
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= _MOST_AT_ONCE:
            raise ConfigurationError(f"concurrency must be 1 to {_MOST_AT_ONCE}, not {concurrency!r}")
        api: BatchFormat | None = None if via == "calls" else host._batch_api()
        if via == "provider" and api is None:
            raise UnsupportedOperation("this backend has no batch API; via='calls' has the requests done by calls")
        if api is not None and window not in api.windows:
            raise ConfigurationError(f"the provider's window is one of {', '.join(api.windows)}, not {window!r}")
        self.host = host
        self.via = via
        self.api = api
        self.window = window
        self.concurrency = concurrency
        self.options = dict(options)
        self.place = Place(manifest)
        self.there = self.place.kept and self.place.manifest.exists()
        #: Those of a manifest that is there are compared with these.
        self.mine = self.place.fresh() if self.there else self.place
        self.mine.requests.unlink(missing_ok=True)
        self.requests = Requests(self.mine.requests)
        self._model = model

    def add(self, request: Any) -> None:
        """Take a request. Raises `ConfigurationError` or `UnsupportedOperation` for one that cannot be asked."""
        number = len(self.requests)
        item = read_item(request, number, self._model)
        if self.api is not None:
            try:
                self.api.encode("job_0000000000000000-0", item.call(""))
            except UnsupportedOperation:
                if self.via == "provider":
                    raise
                self.api = None  # all of them by calls, then
        self.requests.append(store_item(item, number))

    def discard(self) -> None:
        self.requests.close()
        if self.mine is not self.place or not self.place.kept:
            self.mine.remove()
        else:
            self.mine.requests.unlink(missing_ok=True)


async def begin(prepared: Preparation) -> BatchJob:
    """Hand in what is prepared."""
    requests = prepared.requests
    if not len(requests):
        prepared.discard()
        raise ConfigurationError("the batch has no requests")
    if prepared.there:
        digest = requests.digest
        prepared.discard()
        if prepared.place.load().digest != digest:
            raise ConfigurationError(
                f"{prepared.place.manifest} is the manifest of a job with other requests; name another file for these"
            )
        return await resume(prepared.host, prepared.place.manifest, prepared.options)
    prepared.place.results.unlink(missing_ok=True)
    requests.sync()
    api = prepared.api
    manifest = Manifest(
        id=new_id(),
        via="calls" if api is None else "provider",
        backend=getattr(prepared.host, "backend", ""),
        total=len(requests),
        digest=requests.digest,
        window=prepared.window,
        key=prepared.options.get("api_key_name") or "",
        created=prepared.host._batch_clock(),
        limits=(0, 0, 0) if api is None else (api.most_requests, api.most_bytes, api.most_inputs),
        tenant=prepared.options.get("tenant", ""),
        tags=prepared.options.get("tags"),
        concurrency=prepared.concurrency,
    )
    prepared.place.save(manifest)
    return await _started(
        prepared.host, api, prepared.place, manifest, requests, prepared.options, switch=prepared.via == "auto"
    )


async def resume(
    host: Any, path: str | os.PathLike[str], options: Mapping[str, Any] | None = None, *, run: bool = True
) -> BatchJob:
    """Go on with the job of a manifest; without ``run``, only look at it."""
    place = Place(path)
    manifest = place.load()
    backend = getattr(host, "backend", "")
    if manifest.backend != backend:
        raise ConfigurationError(f"{path} is of a job of the backend {manifest.backend!r}, and this one is {backend!r}")
    requests = Requests(place.requests)
    if requests.digest != manifest.digest:
        requests.close()
        raise ConfigurationError(f"{place.requests} is not there, or is not what it was when the job was begun")
    given = dict(options or {})
    given.setdefault("tenant", manifest.tenant)
    if manifest.tags is not None:
        given.setdefault("tags", manifest.tags)
    api = host._batch_api() if manifest.via == "provider" else None
    if manifest.via == "provider" and api is None:
        raise UnsupportedOperation("this backend has no batch API, and the job was handed in with one")
    return await _started(host, api, place, manifest, requests, given, run=run)


async def adopt(host: Any, api: BatchFormat, job: str) -> BatchJob:
    """A job of the provider's that was handed in elsewhere: what is known of it is what the provider says."""
    place = Place(None)
    requests = Requests(place.requests)
    part = Part(state="created", job=job)
    manifest = Manifest(
        id=new_id(), via="provider", backend=getattr(host, "backend", ""), total=0, digest=requests.digest, parts=[part]
    )
    run = ProviderRun(host, api, place, manifest, requests, {}, sleep=host._batch_sleep, clock=host._batch_clock)
    await run.refresh()
    return BatchJob(place, manifest, requests, Results(place.results, 0), run, sleep=host._batch_sleep)


async def _started(
    host: Any,
    api: BatchFormat | None,
    place: Place,
    manifest: Manifest,
    requests: Requests,
    options: dict[str, Any],
    *,
    switch: bool = False,
    run: bool = True,
) -> BatchJob:
    results = Results(place.results, manifest.total)
    way: ProviderRun | CallsRun
    if api is not None:
        way = ProviderRun(
            host, api, place, manifest, requests, options, sleep=host._batch_sleep, clock=host._batch_clock
        )
        try:
            if run:
                await way.start()
            return BatchJob(place, manifest, requests, results, way, sleep=host._batch_sleep)
        except NoBatchApi as problem:
            if not switch:
                error: BaseException = problem.__cause__ or problem
                _left(place, manifest, error)
                raise UnsupportedOperation(f"the service has no batch API: {error}") from error
            manifest.via, manifest.parts = "calls", []
        except BaseException as error:
            _left(place, manifest, error)
            raise
    way = CallsRun(host, place, manifest, requests, results, options, sleep=host._batch_sleep)
    if run and manifest.status != "cancelled":
        way.start()
    return BatchJob(place, manifest, requests, results, way, sleep=host._batch_sleep)


def _left(place: Place, manifest: Manifest, error: BaseException) -> None:
    """Say what became of the parts that were handed in before it went wrong."""
    jobs = [part.job for part in manifest.parts if part.job]
    if place.kept:
        error.add_note(f"batch_job({os.fspath(place.manifest)!r}) goes on from here")
    elif jobs and isinstance(error, AccelerateError):
        error.add_note(f"handed in before that: {', '.join(jobs)}; with a manifest the rest could be handed in later")
