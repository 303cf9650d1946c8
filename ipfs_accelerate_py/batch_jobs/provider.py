"""A job done by the provider's batch API: handed in by parts, looked after, and its results fetched.

A part is handed in once. The manifest says "creating" before the request that is paid for, and "created" after it;
where a process died between the two, or no answer came, the provider's list of jobs tells whether it was made.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ipfs_accelerate_py.batch_jobs.asking import Asking, NoBatchApi
from ipfs_accelerate_py.batch_jobs.host import Host, account
from ipfs_accelerate_py.batch_jobs.items import Item, load_item
from ipfs_accelerate_py.batch_jobs.manifest import Manifest, Part, Place
from ipfs_accelerate_py.batch_jobs.planning import Planned, plan
from ipfs_accelerate_py.batch_jobs.spool import Requests, Results
from ipfs_accelerate_py.dialects.batches import ENDED, BatchFormat, BatchState, unanswered
from ipfs_accelerate_py.errors import (
    AccelerateError,
    AdmissionError,
    ConnectFailed,
    InvalidRequest,
    ProtocolError,
    RateLimited,
    ServerError,
    TransportError,
)
from ipfs_accelerate_py.types import Call, Operation, RawRequest, Reply

__all__ = ["NoBatchApi", "ProviderRun"]

#: Attempts to hand in a part, and the first wait between them (seconds; it doubles).
_TRIES = 6
_FIRST_WAIT = 1.0
#: Clocks of two machines may differ by so much (seconds).
_SKEW = 300.0
#: Pages of the provider's list that are looked through for a job of ours.
_MOST_PAGES = 20
#: The name of a request upstream.
_OURS = re.compile(r"(job_[0-9a-f]{16})-(\d+)")


class ProviderRun:
    """The provider's side of a job."""

    def __init__(
        self,
        host: Host,
        api: BatchFormat,
        place: Place,
        manifest: Manifest,
        requests: Requests,
        options: dict[str, Any],
        *,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._api = api
        self._place = place
        self._manifest = manifest
        self._requests = requests
        self._ask = Asking(host, manifest, options)
        self._sleep = sleep
        self._clock = clock
        #: What the requests ask, for a job of which nothing but the provider's id is known.
        self._operation: Operation | None = None

    # --- handing in ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Hand in what has not been handed in. Raises `NoBatchApi` where the service turns out to have none."""
        parts = self._manifest.parts
        async for planned in plan(self._manifest, self._requests, self._api):
            if planned.number >= len(parts):
                parts.append(Part())
            part = parts[planned.number]
            if part.state != "created":
                await self._hand_in(part, planned)

    async def _hand_in(self, part: Part, planned: Planned) -> None:
        lines = bytes(planned.lines)
        tag = f"{self._manifest.id}/{planned.number}"
        if part.state == "creating" and (made := await self._find(part, tag, planned.size)) is not None:
            self._made(part, made)
            return
        first = planned.number == 0
        upload = self._api.upload(lines)
        if upload is not None:
            raw = (await self._ask(upload, planned.headers, first=first)).raw
            if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
                raise ProtocolError("the upstream took a file and did not say under which id", body=raw)
            part.file = raw["id"]
        create = self._api.create(lines, part.file, planned.group, self._manifest.window, tag)
        if not part.began:
            part.began = self._clock()
        for attempt in range(_TRIES):
            part.state = "creating"
            self._save()
            try:
                reply = await self._ask(create, planned.headers, first=first and upload is None, once=True)
            except (RateLimited, AdmissionError, ConnectFailed) as error:
                part.state = "planned"  # certainly not made
                self._save()
                await self._wait(attempt, error)
            except (ServerError, TransportError, ProtocolError) as error:
                await self._wait(attempt, error)
                if (made := await self._find(part, tag, planned.size)) is not None:
                    self._made(part, made)
                    return
            except (AccelerateError, NoBatchApi):
                part.state = "planned"
                self._save()
                raise
            else:
                self._made(part, self._api.read_state(reply.raw))
                return

    def _made(self, part: Part, state: BatchState) -> None:
        part.job, part.state = state.id, "created"
        self._note(part, state)
        self._save()

    async def _wait(self, attempt: int, error: AccelerateError) -> None:
        if attempt + 1 >= _TRIES:
            raise error
        await self._sleep(max(_FIRST_WAIT * 2**attempt, error.retry_after or 0.0))

    async def _find(self, part: Part, tag: str, count: int) -> BatchState | None:
        """The provider's job of this part, if it was made: by its tag; or by time, size and names in its results."""
        known = {each.job for each in self._manifest.parts if each.job}
        after = ""
        for _ in range(_MOST_PAGES):
            states, after = self._api.read_list((await self._ask(self._api.listed(after))).raw)
            for state in states:
                if self._api.tagged:
                    if state.tag == tag:
                        return state
                    continue
                fits = state.id not in known and state.total == count and state.created >= part.began - _SKEW
                if fits and (not state.results or await self._names(state)):
                    return state
            if not after or (states and states[-1].created and states[-1].created < part.began - _SKEW):
                break
        return None

    async def _names(self, state: BatchState) -> bool:
        """Whether the results bear this job's names."""
        async for line in self._ask.lines(state.results[0]):
            return self._api.read_line(line).custom_id.startswith(self._manifest.id + "-")
        return False

    # --- looking after -------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Ask how far the parts are."""
        for part in self._manifest.parts:
            if part.job and part.status not in ENDED:
                state = self._api.read_state((await self._ask(self._api.get(part.job))).raw)
                self._operation = self._operation or state.operation
                self._note(part, state)
        self._save()

    def _note(self, part: Part, state: BatchState) -> None:
        part.status, part.results, part.problems = state.status, state.results, state.problems
        part.total = state.total or part.total
        part.completed, part.failed = state.completed, state.failed
        manifest = self._manifest
        if not len(self._requests):
            manifest.total = sum(each.total for each in manifest.parts)
        statuses = {each.status for each in manifest.parts}
        if statuses <= ENDED and all(each.state == "created" for each in manifest.parts):
            manifest.status = statuses.pop() if len(statuses) == 1 else "completed"
        else:
            manifest.status = next(
                (s for s in ("cancelling", "in_progress", "validating") if s in statuses), "in_progress"
            )

    async def cancel(self) -> None:
        """Ask for the end of all parts; what was answered by then is paid for, and can be fetched."""
        for part in self._manifest.parts:
            if part.job and part.status not in ENDED:
                try:
                    reply = await self._ask(self._api.cancel(part.job))
                except InvalidRequest:
                    continue  # it has ended meanwhile
                self._note(part, self._api.read_state(reply.raw))
        self._save()

    # --- results -------------------------------------------------------------------------------------------------

    async def fetch(self, results: Results) -> None:
        """Have the results of every part that has ended on disk; and tell of each, once."""
        for part in self._manifest.parts:
            if part.fetched or part.status not in ENDED:
                continue
            for path in part.results:
                await self._fetch(part, path, results)
            results.sync()
            part.fetched = True
            self._save()

    async def _fetch(self, part: Part, path: str, results: Results) -> None:
        known = len(self._requests)
        async for data in self._ask.lines(path):
            line = self._api.read_line(data)
            named = _OURS.fullmatch(line.custom_id)
            if known and (named is None or named[1] != self._manifest.id or int(named[2]) >= known):
                raise ProtocolError(
                    f"the results of {part.job} are those of another job ({line.custom_id!r}); "
                    "was it handed in by somebody else at the same moment?"
                )
            index = int(named[2]) if named is not None else len(results)
            fresh = not results.has(index)
            results.append(index, b'{"index":%d,"line":%b}\n' % (index, data.strip()))
            if fresh:
                call, outcome = self.outcome(index, data)
                reply = outcome if isinstance(outcome, Reply) else None
                error = outcome if isinstance(outcome, AccelerateError) else None
                account(self._host, call, reply, error, part.began or self._clock(), self._manifest.backend)

    def outcome(self, index: int, data: bytes) -> tuple[Call, Reply | AccelerateError]:
        """A line of results as a reply or an error, and the call that it is the answer to."""
        name = f"{self._manifest.id}-{index}"
        call = self._item(index).call(name)
        call.tenant = self._manifest.tenant
        call.tags = {**(self._manifest.tags or {}), "batch": self._manifest.id}
        try:
            reply = self._api.decode(call, self._api.read_line(data))
        except AccelerateError as error:
            return call, error
        reply.request_id = name
        reply.backend = self._manifest.backend
        reply.usage.tier = reply.usage.tier or "batch"
        return call, reply

    def name(self, data: bytes) -> str:
        """The name that a line bears."""
        return self._api.read_line(data).custom_id

    def _item(self, index: int) -> Item:
        if index < len(self._requests):
            return load_item(self._requests.read(index))
        # Handed in elsewhere: the answer is read without the question.
        return Item("", self._operation or Operation.CHAT, RawRequest(""))

    def missing(self, index: int) -> AccelerateError:
        """The error of a request that no result came for."""
        problems = tuple(problem for part in self._manifest.parts for problem in part.problems)
        return unanswered(self._manifest.status, problems[:5])

    def _save(self) -> None:
        self._place.save(self._manifest)


def line_of(stored: bytes) -> bytes:
    """The provider's line in a stored result."""
    return bytes(msgspec.json.decode(stored, type=_StoredLine).line)


class _StoredLine(msgspec.Struct):
    line: msgspec.Raw
