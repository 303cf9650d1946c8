"""``/v1/tasks/{task}``: any task of a model, as a server takes and answers it. Our own, in OpenAI's manner. Pure.

A body is JSON (``model``, ``input``, ``parameters``) or a form with files: each part ``input`` is one input, and every
other part is a parameter. In JSON bytes are ``{"base64": "..."}`` or a data URL.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.checking import FORBIDDEN
from ipfs_accelerate_py.dialects.forms import decode_form
from ipfs_accelerate_py.dialects.serving import Answer, bad_request
from ipfs_accelerate_py.plain_results import as_json
from ipfs_accelerate_py.types import Operation, Passthrough, Reply, Request, TaskRequest

__all__ = ["TaskBody", "decode_task", "encode_task"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class TaskBody:
    """A body that has passed the check (a `ServedRequest`)."""

    operation = Operation.TASK
    stream = False

    def __init__(self, model: str, task: str, inputs: list[Any], options: dict[str, Any]) -> None:
        self.model = model
        self.task = task
        self._inputs = inputs
        self._options = options

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        """Nobody else has these routes."""
        return None

    def summary(self, model: str) -> Request:
        return self.request(model)

    def request(self, model: str) -> Request:
        return TaskRequest(model, list(self._inputs), self.task, dict(self._options))


def decode_task(body: bytes, content_type: str, task: str) -> TaskBody:
    """Check a body. Raises `InvalidRequest` whose ``param`` names the field that is wrong."""
    if content_type.strip().lower().startswith("multipart/"):
        fields, inputs = _form(body, content_type)
    else:
        fields, inputs = _json(body)
    model = fields.pop("model", None)
    if not isinstance(model, str) or not model:
        raise bad_request("Missing required parameter: 'model'.", "missing_required_parameter", "model")
    if not inputs:
        raise bad_request("Missing required parameter: 'input'.", "missing_required_parameter", "input")
    if fields.pop("stream", False):
        raise bad_request("Unsupported parameter: 'stream'.", "unsupported_parameter", "stream")
    if wrong := FORBIDDEN & fields.keys():
        name = min(wrong)
        raise bad_request(f"Unsupported parameter: '{name}'.", "unsupported_parameter", name)
    return TaskBody(model, task, inputs, fields)


def _json(body: bytes) -> tuple[dict[str, Any], list[Any]]:
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise bad_request("The body must be a JSON object.", "invalid_type")
    given = fields.pop("input", fields.pop("inputs", None))
    parameters = fields.pop("parameters", None) or {}
    if not isinstance(parameters, dict):
        raise bad_request("Invalid type for 'parameters': expected object.", "invalid_type", "parameters")
    inputs = given if isinstance(given, list) else [] if given is None else [given]
    return {**fields, **parameters}, [_bytes(each, f"input[{at}]") for at, each in enumerate(inputs)]


def _bytes(value: Any, place: str) -> Any:
    """The value with bytes in the place of what says that it is bytes."""
    if isinstance(value, str) and value.startswith("data:") and ";base64," in value[:200]:
        return _plain(value.partition(";base64,")[2], place)
    if isinstance(value, dict):
        if value.keys() == {"base64"} and isinstance(value["base64"], str):
            return _plain(value["base64"], place)
        return {name: _bytes(each, f"{place}.{name}") for name, each in value.items()}
    if isinstance(value, list):
        return [_bytes(each, f"{place}[{at}]") for at, each in enumerate(value)]
    return value


def _plain(text: str, place: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"Invalid value for '{place}': this is no base64.", "invalid_value", place) from None


def _form(body: bytes, content_type: str) -> tuple[dict[str, Any], list[Any]]:
    fields: dict[str, Any] = {}
    inputs: list[Any] = []
    for part in decode_form(body, content_type):
        if part.name in ("input", "file", "image", "audio"):
            inputs.append(part.data if part.filename else part.text)
        elif part.name == "model":
            fields["model"] = part.text
        else:
            fields[part.name] = _value(part.text)
    return fields, inputs


def _value(text: str) -> Any:
    """A parameter in a form: JSON where it is such, else a text."""
    try:
        return _decode(text.encode())
    except msgspec.DecodeError:
        return text


def encode_task(request: TaskBody, reply: Reply, model: str, identity: str) -> Answer:
    """One entry of ``data`` per input, in order."""
    usage = reply.usage
    return Answer(
        _encode(
            {
                "id": identity,
                "object": "list",
                "model": model,
                "task": request.task,
                "data": [{"index": at, **as_json(each)} for at, each in enumerate(reply.results)],
                "usage": {
                    "prompt_tokens": usage.input_tokens,
                    "completion_tokens": usage.output_tokens,
                    "total_tokens": usage.total_tokens,
                },
            }
        )
    )
