"""What a provider's batch API is to us: many requests handed in at once, done within hours, fetched by their names.

Pure, as dialects are: requests are made and answers read here, and who sends them is `batch_jobs`.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ipfs_accelerate_py.errors import BackendError
from ipfs_accelerate_py.types import Call, Operation, RawRequest, Reply

__all__ = ["ENDED", "BatchFormat", "BatchLine", "BatchState", "unanswered"]

#: States in which nothing more happens.
ENDED = frozenset(("completed", "failed", "expired", "cancelled"))


class BatchState(msgspec.Struct, kw_only=True):
    """One job of a provider's, as it was when it was asked for.

    Attributes:
        status: "validating", "in_progress", "finalizing", "cancelling", or one of `ENDED`.
        total, completed, failed: requests in it. Some providers tell them at the end only.
        created: seconds since 1970, 0 where it is not said.
        tag: what `BatchFormat.create` was given, where the provider keeps such a thing.
        operation: what its requests ask, where the provider says so.
        results: paths or URLs of its results, JSON lines each.
        problems: why the whole job failed.
    """

    id: str
    status: str
    total: int = 0
    completed: int = 0
    failed: int = 0
    created: float = 0.0
    tag: str = ""
    operation: Operation | None = None
    results: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class BatchLine(msgspec.Struct):
    """One result: whose it is, and the answer's body (JSON) or the error."""

    custom_id: str
    body: bytes = b""
    error: BackendError | None = None
    request_id: str = ""


class BatchFormat(Protocol):
    """A batch API.

    Attributes:
        most_requests, most_bytes: of one job.
        most_inputs: of all requests of one job together, where they are lists (embeddings).
        windows: how long the provider may take, as it writes it.
        tagged: whether jobs carry a tag by which they are found again.
    """

    most_requests: int
    most_bytes: int
    most_inputs: int
    windows: tuple[str, ...]
    tagged: bool

    def encode(self, custom_id: str, call: Call) -> tuple[str, bytes, dict[str, str] | None]:
        """A request as a line; the group it belongs to (a job holds one group); headers that its job needs.

        Raises `UnsupportedOperation` for what the batch API does not take.
        """
        ...

    def upload(self, lines: bytes) -> RawRequest | None:
        """How requests are stored before the job is made; None where they are sent with it."""
        ...

    def create(self, lines: bytes, file: str, group: str, window: str, tag: str) -> RawRequest:
        """Make the job. ``lines`` are those of `encode`, each with a line end."""
        ...

    def get(self, job: str) -> RawRequest: ...
    def cancel(self, job: str) -> RawRequest: ...

    def listed(self, after: str) -> RawRequest:
        """The newest jobs, or those after one."""
        ...

    def read_state(self, raw: Any) -> BatchState: ...

    def read_list(self, raw: Any) -> tuple[list[BatchState], str]:
        """A page of jobs, and after which one the next begins; empty where there is none."""
        ...

    def read_line(self, line: bytes) -> BatchLine: ...

    def decode(self, call: Call, line: BatchLine) -> Reply:
        """The answer of a line. Raises the error that is in it."""
        ...


def unanswered(status: str, problems: tuple[str, ...] = ()) -> BackendError:
    """The error of a request that its job ended without having answered."""
    said = f": {'; '.join(problems)}" if problems else ""
    words = {
        "expired": "the provider did not come to it within its window",
        "cancelled": "its job was cancelled before",
        "failed": "the provider refused its job",
    }
    code = {"expired": "batch_expired", "cancelled": "batch_cancelled", "failed": "batch_failed"}
    return BackendError(
        f"the request was not answered; {words.get(status, 'its result is missing')}{said}",
        code=code.get(status, "batch_incomplete"),
    )
