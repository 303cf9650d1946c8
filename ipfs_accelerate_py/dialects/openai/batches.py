"""OpenAI's batch API, as OpenAI and Groq have it: a file of requests, a job over it, files of results.

Source: OpenAI's API specification (``/files``, ``/batches``) and its guide "Batch API": a file holds requests of one
endpoint and one model, at most 50,000 and 200 MB, embeddings at most 50,000 inputs in all.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from ipfs_accelerate_py.dialects.base import Dialect
from ipfs_accelerate_py.dialects.batches import BatchLine, BatchState, unanswered
from ipfs_accelerate_py.dialects.forms import Part, encode_form
from ipfs_accelerate_py.dialects.openai.errors import error_from_body, error_from_status
from ipfs_accelerate_py.dialects.reading import count, name, part
from ipfs_accelerate_py.errors import ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, Operation, RawRequest, Reply

__all__ = ["OpenAIBatches"]

_encode = msgspec.json.Encoder().encode
_TAG = "ipfs_accelerate_batch"
#: Jobs on a page of the list.
_PAGE = 100
_OPERATIONS: Final = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/responses": Operation.RESPONSE,
    "/v1/embeddings": Operation.EMBED,
    "/v1/moderations": Operation.MODERATE,
    "/v1/images/generations": Operation.IMAGE,
}
_STATES: Final = frozenset(
    ("validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled")
)
_ENDED_EARLY = {"batch_expired": "expired", "batch_cancelled": "cancelled"}


class _Response(msgspec.Struct):
    status_code: int = 0
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str = ""
    response: _Response | None = None
    error: dict[str, Any] | None = None


_read_line = msgspec.json.Decoder(_Line).decode


class OpenAIBatches:
    """The translation; requests and answers themselves are the dialect's.

    Args:
        operations: those that the service takes in batches.
        windows: how long it may take, as it writes it.
    """

    most_requests = 50_000
    most_bytes = 200_000_000
    most_inputs = 50_000
    tagged = True

    def __init__(
        self,
        dialect: Dialect,
        operations: Collection[Operation],
        windows: tuple[str, ...] = ("24h",),
    ) -> None:
        self._dialect = dialect
        self._operations = operations
        self.windows = windows

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, custom_id: str, call: Call) -> tuple[str, bytes, dict[str, str] | None]:
        if call.operation not in self._operations:
            raise UnsupportedOperation(f"the service's batch API does not take {call.operation}")
        wire = self._dialect.encode(call)
        url = "/v1" + wire.path
        assert wire.body is not None
        line = {"custom_id": custom_id, "method": "POST", "url": url, "body": msgspec.Raw(wire.body)}
        return f"{url} {call.request.model}", _encode(line) + b"\n", wire.headers

    def upload(self, lines: bytes) -> RawRequest:
        file = Part("file", lines, "requests.jsonl", "application/jsonl")
        form, kind = encode_form([Part("purpose", b"batch"), file])
        return RawRequest("/files", form, content_type=kind)

    def create(self, lines: bytes, file: str, group: str, window: str, tag: str) -> RawRequest:
        body = {
            "input_file_id": file,
            "endpoint": group.partition(" ")[0],
            "completion_window": window,
            "metadata": {_TAG: tag},
        }
        return RawRequest("/batches", body)

    def get(self, job: str) -> RawRequest:
        return RawRequest(f"/batches/{quote(job, safe='')}", method="GET")

    def cancel(self, job: str) -> RawRequest:
        return RawRequest(f"/batches/{quote(job, safe='')}/cancel")

    def listed(self, after: str) -> RawRequest:
        query = {"limit": _PAGE, **({"after": after} if after else {})}
        return RawRequest(f"/batches?{urlencode(query)}", method="GET")

    # --- answers -------------------------------------------------------------------------------------------------

    def read_state(self, raw: Any) -> BatchState:
        if not isinstance(raw, dict) or not isinstance(raw.get("id"), str) or raw.get("status") not in _STATES:
            raise ProtocolError("the upstream's answer is not OpenAI's batch object", body=raw)
        counts = part(raw.get("request_counts"))
        files = [name(raw.get(each)) for each in ("output_file_id", "error_file_id")]
        found = part(raw.get("errors")).get("data")
        problems = [part(each) for each in found] if isinstance(found, list) else []
        return BatchState(
            id=raw["id"],
            status=raw["status"],
            total=count(counts.get("total")),
            completed=count(counts.get("completed")),
            failed=count(counts.get("failed")),
            created=float(count(raw.get("created_at"))),
            tag=name(part(raw.get("metadata")).get(_TAG)),
            operation=_OPERATIONS.get(name(raw.get("endpoint"))),
            results=tuple(f"/files/{quote(file, safe='')}/content" for file in files if file),
            problems=tuple(
                f"{name(each.get('message')) or name(each.get('code'))}"
                + (f" (line {each['line']})" if each.get("line") is not None else "")
                for each in problems
            ),
        )

    def read_list(self, raw: Any) -> tuple[list[BatchState], str]:
        if not isinstance(raw, dict) or not isinstance(raw.get("data"), list):
            raise ProtocolError("the upstream's answer is not OpenAI's list of batches", body=raw)
        jobs = [self.read_state(each) for each in raw["data"]]
        return jobs, jobs[-1].id if jobs and raw.get("has_more") else ""

    def read_line(self, line: bytes) -> BatchLine:
        try:
            read = _read_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProtocolError("a line of the batch's results is not of OpenAI's format") from None
        made = BatchLine(read.custom_id)
        response = read.response
        if response is not None and 200 <= response.status_code < 300:
            made.body = bytes(response.body)
            made.request_id = response.request_id or ""
        elif response is not None and response.status_code:
            made.error = error_from_status(response.status_code, {}, bytes(response.body))
            made.error.request_id = response.request_id
        else:
            detail = read.error or {}
            early = _ENDED_EARLY.get(name(detail.get("code")))
            made.error = unanswered(early) if early is not None else error_from_body({"error": detail})
        return made

    def decode(self, call: Call, line: BatchLine) -> Reply:
        if line.error is not None:
            raise line.error
        reply = self._dialect.decode(call, line.body, {})
        reply.upstream_request_id = line.request_id or None
        return reply
