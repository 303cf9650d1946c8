"""Anthropic's message batches: the requests are sent with the job, and the results are one file.

Source: Anthropic's API reference, "Message Batches": at most 100,000 requests and 256 MB in one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from ipfs_accelerate_py.dialects.anthropic.errors import error_from_body
from ipfs_accelerate_py.dialects.base import Dialect
from ipfs_accelerate_py.dialects.batches import BatchLine, BatchState, unanswered
from ipfs_accelerate_py.dialects.reading import count, name, part
from ipfs_accelerate_py.errors import ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, Operation, RawRequest, Reply

__all__ = ["AnthropicBatches"]

_encode = msgspec.json.Encoder().encode
_PATH = "/messages/batches"
#: Jobs on a page of the list.
_PAGE = 100
_STATES = {"in_progress": "in_progress", "canceling": "cancelling", "ended": "completed"}
_EARLY = {"canceled": "cancelled", "expired": "expired"}


class _Result(msgspec.Struct):
    type: str = ""
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None


class _Line(msgspec.Struct):
    custom_id: str = ""
    result: _Result = msgspec.field(default_factory=_Result)


_read_line = msgspec.json.Decoder(_Line).decode


class AnthropicBatches:
    """The translation; requests and answers themselves are the dialect's."""

    most_requests = 100_000
    most_bytes = 256_000_000
    most_inputs = 0
    windows: tuple[str, ...] = ("24h",)
    #: A batch carries nothing of its maker's but the names of its requests.
    tagged = False

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, custom_id: str, call: Call) -> tuple[str, bytes, dict[str, str] | None]:
        if call.operation is not Operation.CHAT:
            raise UnsupportedOperation(f"Anthropic's batch API does not take {call.operation}")
        wire = self._dialect.encode(call)
        assert wire.body is not None
        # What is in beta is asked for with the job, so requests that ask for different things are in different jobs.
        betas = (wire.headers or {}).get("anthropic-beta", "")
        line = _encode({"custom_id": custom_id, "params": msgspec.Raw(wire.body)})
        return betas, line + b"\n", wire.headers

    def upload(self, lines: bytes) -> None:
        return None

    def create(self, lines: bytes, file: str, group: str, window: str, tag: str) -> RawRequest:
        requests = b",".join(lines.rstrip(b"\n").split(b"\n"))  # a line end is in no JSON text but between tokens
        return RawRequest(_PATH, b'{"requests":[' + requests + b"]}")

    def get(self, job: str) -> RawRequest:
        return RawRequest(f"{_PATH}/{quote(job, safe='')}", method="GET")

    def cancel(self, job: str) -> RawRequest:
        return RawRequest(f"{_PATH}/{quote(job, safe='')}/cancel")

    def listed(self, after: str) -> RawRequest:
        query = {"limit": _PAGE, **({"after_id": after} if after else {})}
        return RawRequest(f"{_PATH}?{urlencode(query)}", method="GET")

    # --- answers -------------------------------------------------------------------------------------------------

    def read_state(self, raw: Any) -> BatchState:
        status = _STATES.get(name(raw.get("processing_status"))) if isinstance(raw, dict) else None
        if status is None or not isinstance(raw.get("id"), str):
            raise ProtocolError("the upstream's answer is not Anthropic's batch object", body=raw)
        counts = part(raw.get("request_counts"))
        tally = {
            each: count(counts.get(each)) for each in ("processing", "succeeded", "errored", "canceled", "expired")
        }
        total = sum(tally.values())
        if status == "completed" and total and tally["succeeded"] + tally["errored"] == 0:
            status = "cancelled" if tally["canceled"] else "expired"
        url = name(raw.get("results_url"))
        return BatchState(
            id=raw["id"],
            status=status,
            total=total,
            completed=tally["succeeded"],
            failed=total - tally["succeeded"] - tally["processing"],
            created=_instant(raw.get("created_at")),
            operation=Operation.CHAT,
            # The path alone: the key goes to the backend's own address and to no other that an answer may name.
            results=(f"{_PATH}/{quote(raw['id'], safe='')}/results",) if url and urlsplit(url).path else (),
        )

    def read_list(self, raw: Any) -> tuple[list[BatchState], str]:
        if not isinstance(raw, dict) or not isinstance(raw.get("data"), list):
            raise ProtocolError("the upstream's answer is not Anthropic's list of batches", body=raw)
        return [self.read_state(each) for each in raw["data"]], name(raw.get("last_id")) if raw.get("has_more") else ""

    def read_line(self, line: bytes) -> BatchLine:
        try:
            read = _read_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProtocolError("a line of the batch's results is not of Anthropic's format") from None
        made = BatchLine(read.custom_id)
        if read.result.type == "succeeded":
            made.body = bytes(read.result.message)
        elif read.result.type in _EARLY:
            made.error = unanswered(_EARLY[read.result.type])
        else:
            made.error = error_from_body(read.result.error or {})
        return made

    def decode(self, call: Call, line: BatchLine) -> Reply:
        if line.error is not None:
            raise line.error
        return self._dialect.decode(call, line.body, {})


def _instant(value: Any) -> float:
    try:
        return datetime.fromisoformat(value.strip()).timestamp() if isinstance(value, str) else 0.0
    except (ValueError, OverflowError):
        return 0.0
