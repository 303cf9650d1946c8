"""OpenVINO Model Server's three faces behind one base URL.

``/v3`` is OpenAI's format (chat, completions, embeddings, rerank, audio, images, models), ``/v2`` the Open Inference
Protocol, ``/v1`` TensorFlow Serving's API. Each is a dialect of its own; here is only which one a call goes to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.headers import rate_limits
from ipfs_accelerate_py.dialects.oip.dialect import decode_infer, encode_infer
from ipfs_accelerate_py.dialects.oip.errors import error, refined
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.dialects.tfs import decode_predict, encode_predict
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, InferRequest, Operation, RateLimits, Reply

__all__ = ["PROTOCOLS", "OvmsDialect", "infer_request"]

PROTOCOLS = ("oip", "tfs")
#: What of OpenAI's format the server has no path for.
_ABSENT = frozenset((Operation.MODERATE, Operation.COUNT, Operation.CLASSIFY))


class OvmsDialect:
    """The translation.

    Args:
        model: taken where a call names none.
        version: of models that are inferred with, where a call names none; empty is the server's choice.
        protocol: of inferences: ``oip`` or ``tfs``, unless the call's option ``protocol`` says otherwise.
        stream_usage: off for servers that refuse ``stream_options``.
    """

    #: What bodies are forwarded in, for the gateway: all that is forwarded is OpenAI's.
    name = "openai"

    def __init__(self, *, model: str = "", version: str = "", protocol: str = "oip", stream_usage: bool = True) -> None:
        self._openai = OpenAIDialect(stream_usage=stream_usage)
        self._model = model
        self._version = version
        self._protocol = protocol
        self.operations = (self._openai.operations - _ABSENT) | {Operation.INFER}

    def encode(self, call: Call) -> WireRequest:
        operation = call.operation
        if operation is Operation.INFER:
            request, protocol = self._infer(call)
            return encode_infer(request) if protocol == "oip" else encode_predict(request)
        if operation not in self.operations:
            raise UnsupportedOperation(f"OpenVINO Model Server has no operation {operation}")
        wire = self._openai.encode(self._named(call))
        if operation is not Operation.RAW:
            wire.path = "/v3" + wire.path
        return wire

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        if call.operation is not Operation.INFER:
            try:
                return self._openai.decode(call, body, headers)
            except BackendError as problem:
                made = refined(problem)
            raise made
        request, protocol = self._infer(call)
        if protocol == "oip":
            return decode_infer(body, headers, binary=bool(request.options.get("binary")))
        return decode_predict(body, request)

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation not in self.operations:
            raise UnsupportedOperation(f"OpenVINO Model Server has no operation {call.operation}")
        return self._openai.stream_decoder(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return rate_limits(headers)

    def _named(self, call: Call) -> Call:
        """The call with the row's model, where it has none."""
        if call.request.model or not self._model or call.operation in (Operation.RAW, Operation.MODELS):
            return call
        return msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, model=self._model))

    def _infer(self, call: Call) -> tuple[InferRequest, str]:
        if call.stream:
            raise UnsupportedOperation("an inference is answered whole; it has no stream")
        return infer_request(call, model=self._model, version=self._version, protocol=self._protocol)


def infer_request(call: Call, *, model: str, version: str, protocol: str) -> tuple[InferRequest, str]:
    """An inference with what the row says where the call does not, and its protocol."""
    request = call.request
    assert isinstance(request, InferRequest)
    options: dict[str, Any] = dict(request.options)
    chosen = options.pop("protocol", None) or protocol
    if chosen not in PROTOCOLS:
        raise ConfigurationError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {chosen!r}")
    name = request.model or model
    if not name:
        raise ConfigurationError("an inference needs the name of a model (or OVMS_MODEL, or the option model)")
    # The default version is the default model's: another model's versions have other numbers.
    wanted = request.version or (version if name == model or not model else "")
    return InferRequest(name, request.inputs, str(wanted), options), chosen
