"""``/files`` and ``/batches``: requests handed in as a file, worked off bit by bit, answered in files.

Nothing here knows the time: a job goes on by one step each time that somebody looks at it. Results are in another order
than the requests, for the service promises none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from ipfs_accelerate_py.simulator.multipart import form_of
from ipfs_accelerate_py.simulator.wire import Answer, Problem, Refused, Request, Settings

from .checks import body_of, missing, one_of, refuse
from .common import created, new_id

__all__ = ["Batches"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
#: Of OpenAI's specification, those whose endpoints are here.
_ENDPOINTS: Final = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
)
_PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_REQUESTS: Final = 50_000
_MOST_BYTES: Final = 200_000_000
_DAY: Final = 86_400
#: Looks at a job until it has ended: the first sees a part of it done.
_STEPS: Final = 2

Serve = Callable[[str, Request, Settings], Answer]


@dataclass
class _File:
    about: dict[str, Any]
    data: bytes


@dataclass
class _Job:
    about: dict[str, Any]
    lines: list[dict[str, Any]]
    looks: int = 0
    good: list[bytes] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)


class Batches:
    """The files and jobs of one simulated account."""

    def __init__(self, serve: Serve, error: Callable[[Problem], dict[str, Any]]) -> None:
        """``serve`` answers a request of an endpoint (``chat/completions``); ``error`` is a problem's body."""
        self._serve = serve
        self._error = error
        self._files: dict[str, _File] = {}
        self._jobs: dict[str, _Job] = {}

    def answer(self, request: Request, path: str, settings: Settings) -> Answer | None:
        """``path`` is without the version; None for paths of others."""
        what, *rest = path.split("/")
        if what == "files":
            return self._file(request, rest)
        if what == "batches":
            return self._job(request, rest, settings)
        return None

    # --- files ---------------------------------------------------------------------------------------------------

    def _file(self, request: Request, rest: list[str]) -> Answer | None:
        if not rest:
            if request.method == "POST":
                return _json(self._upload(request))
            wanted = _query(request, "purpose")
            return _json(_page([f.about for f in self._files.values() if wanted in ("", f.about["purpose"])], request))
        file = self._files.get(rest[0])
        if file is None:
            refuse(f"No such File object: {rest[0]}", "id", None, 404)
        if rest[1:] == ["content"] and request.method == "GET":
            return Answer(body=file.data, content_type="application/octet-stream")
        if rest[1:]:
            return None
        if request.method == "DELETE":
            del self._files[rest[0]]
            return _json({"id": rest[0], "object": "file", "deleted": True})
        return _json(file.about)

    def _upload(self, request: Request) -> dict[str, Any]:
        form = form_of(request)
        purpose = form.last("purpose")
        if purpose is None:
            missing("purpose")
        one_of(*_PURPOSES)("purpose", purpose)
        upload = form.files.get("file")
        if upload is None:
            missing("file")
        if purpose == "batch" and not upload.filename.endswith(".jsonl"):
            refuse("Invalid file format for Batch API. Must be .jsonl", "file")
        return self._keep(upload.filename, upload.data, purpose).about

    def _keep(self, name: str, data: bytes, purpose: str) -> _File:
        identity = new_id("file-")
        about = {
            "id": identity,
            "object": "file",
            "bytes": len(data),
            "created_at": created(),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        file = self._files[identity] = _File(about, data)
        return file

    # --- jobs ----------------------------------------------------------------------------------------------------

    def _job(self, request: Request, rest: list[str], settings: Settings) -> Answer | None:
        if not rest:
            if request.method == "POST":
                return _json(self._create(request))
            return _json(_page([job.about for job in reversed(self._jobs.values())], request))
        job = self._jobs.get(rest[0])
        if job is None:
            refuse(f"No batch found with id '{rest[0]}'.", None, None, 404)
        if rest[1:] == ["cancel"] and request.method == "POST":
            self._cancel(job)
        elif rest[1:] or request.method != "GET":
            return None
        else:
            self._step(job, settings)
        return _json(job.about)

    def _create(self, request: Request) -> dict[str, Any]:
        body = body_of(request)
        for name in ("input_file_id", "endpoint", "completion_window"):
            if body.get(name) is None:
                missing(name)
        one_of(*_ENDPOINTS)("endpoint", body["endpoint"])
        one_of("24h")("completion_window", body["completion_window"])
        file = self._files.get(body["input_file_id"])
        if file is None:
            refuse(f"Invalid file id: {body['input_file_id']}", "input_file_id")
        if file.about["purpose"] != "batch":
            refuse("The file's purpose must be 'batch'.", "input_file_id")
        lines, problems = _lines(file.data, body["endpoint"])
        now = created()
        about: dict[str, Any] = {
            "id": new_id("batch_"),
            "object": "batch",
            "endpoint": body["endpoint"],
            "errors": {"object": "list", "data": problems} if problems else None,
            "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"],
            "status": "failed" if problems else "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "expires_at": now + _DAY,
            "failed_at": now if problems else None,
            "request_counts": {"total": 0 if problems else len(lines), "completed": 0, "failed": 0},
            "metadata": body.get("metadata"),
        }
        self._jobs[about["id"]] = _Job(about, lines)
        return about

    def _step(self, job: _Job, settings: Settings) -> None:
        about = job.about
        if about["status"] == "cancelling":
            self._finish(job, "cancelled")
        elif about["status"] in ("validating", "in_progress"):
            job.looks += 1
            done = len(job.good) + len(job.bad)
            upto = len(job.lines) if job.looks >= _STEPS else len(job.lines) // 2
            for line in job.lines[done:upto]:
                self._work(job, line, settings)
            about["status"] = "in_progress"
            about.setdefault("in_progress_at", created())
            about["request_counts"].update(completed=len(job.good), failed=len(job.bad))
            if upto == len(job.lines):
                self._finish(job, "completed")

    def _work(self, job: _Job, line: dict[str, Any], settings: Settings) -> None:
        request = Request(0, "POST", line["url"], "", {"content-type": "application/json"}, body=line["body"])
        try:
            if isinstance(line["body"], dict) and line["body"].get("stream"):
                refuse("'stream' is not supported in batches.", "stream", "invalid_value")
            answer = self._serve(line["url"].removeprefix("/v1/"), request, settings)
            assert isinstance(answer.body, bytes)
            status, body = 200, answer.body
        except Refused as refused:
            status, body = refused.problem.status, _encode(self._error(refused.problem))
        response = {"status_code": status, "request_id": new_id("req_"), "body": msgspec.Raw(body)}
        made = {"id": new_id("batch_req_"), "custom_id": line["custom_id"], "response": response, "error": None}
        (job.good if status == 200 else job.bad).append(_encode(made))

    def _cancel(self, job: _Job) -> None:
        if job.about["status"] not in ("validating", "in_progress", "finalizing", "cancelling"):
            refuse(f"Cannot cancel a batch with status '{job.about['status']}'.", None, None, 409)
        job.about["status"] = "cancelling"
        job.about.setdefault("cancelling_at", created())

    def _finish(self, job: _Job, status: str) -> None:
        about = job.about
        if status == "cancelled":
            error = {
                "code": "batch_cancelled",
                "message": "This request could not be executed before the batch was cancelled.",
            }
            for line in job.lines[len(job.good) + len(job.bad) :]:
                made = {"id": new_id("batch_req_"), "custom_id": line["custom_id"], "response": None, "error": error}
                job.bad.append(_encode(made))
        for name, lines in (("output_file_id", job.good), ("error_file_id", job.bad)):
            if lines:
                data = b"\n".join(reversed(lines)) + b"\n"
                about[name] = self._keep(f"{about['id']}_{name[:-8]}.jsonl", data, "batch_output").about["id"]
        about["status"] = status
        about[f"{status}_at"] = created()


def _lines(data: bytes, endpoint: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A file's requests, and what is wrong with them."""
    problems: list[dict[str, Any]] = []

    def wrong(code: str, message: str, line: int | None = None) -> None:
        problems.append({"code": code, "message": message, "line": line, "param": None})

    lines: list[dict[str, Any]] = []
    names: set[str] = set()
    models: set[Any] = set()
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = _decode(text)
        except msgspec.DecodeError:
            wrong("invalid_json_line", "This line is not parseable as valid JSON.", number)
            continue
        name = line.get("custom_id") if isinstance(line, dict) else None
        if not isinstance(name, str) or not isinstance(line.get("body"), dict):
            wrong("missing_required_parameter", "A line must have a 'custom_id' and a 'body'.", number)
        elif name in names:
            wrong("duplicate_custom_id", f"The custom_id '{name}' is not unique.", number)
        elif line.get("method") != "POST" or line.get("url") != endpoint:
            wrong("invalid_url", f"The method must be POST and the URL '{endpoint}'.", number)
        else:
            names.add(name)
            models.add(line["body"].get("model"))
            lines.append(line)
    if not lines and not problems:
        wrong("empty_file", "The input file is empty.")
    if len(models) > 1:
        wrong("mismatched_model", "All requests in a batch must be for the same model.")
    if len(lines) > _MOST_REQUESTS or len(data) > _MOST_BYTES:
        wrong("token_limit_exceeded", f"A batch has at most {_MOST_REQUESTS} requests and {_MOST_BYTES} bytes.")
    return lines, problems


def _page(items: list[dict[str, Any]], request: Request) -> dict[str, Any]:
    after, limit = _query(request, "after"), _query(request, "limit")
    start = next((place + 1 for place, item in enumerate(items) if item["id"] == after), 0)
    most = int(limit) if limit.isdigit() else 20
    page = items[start : start + most]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + most < len(items),
    }


def _query(request: Request, name: str) -> str:
    return parse_qs(request.query).get(name, [""])[-1]


def _json(value: Any) -> Answer:
    return Answer(body=_encode(value))
