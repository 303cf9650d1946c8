"""The Open Inference Protocol by gRPC: the handler behind a base URL of ``grpc://host:port`` (``grpcs://`` with TLS).

It stands in the place of dialect and transport, behind the same pipeline. grpcio and protobuf (the extra ``[grpc]``)
are imported by the first call. What is to be had besides inferences is what the protocol has: whether server and models
are live and ready, and their metadata, under the paths that REST has for them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.backends.oip_grpc_wire import about, infer_message, infer_reply, said
from ipfs_accelerate_py.backends.oip_messages import SERVICE, grpc_module, message_class
from ipfs_accelerate_py.backends.spec import BackendSpec
from ipfs_accelerate_py.dialects.ovms.dialect import infer_request
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    ConnectFailed,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    RateLimited,
    ReadTimeout,
    ServerError,
    TransportError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.types import Call, Operation, Reply

__all__ = ["OipGrpcBackend"]

#: Tensors are large, and gRPC's own limit of a message is 4 MiB.
MOST_BYTES = 256 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_send_message_length", MOST_BYTES),
    ("grpc.enable_retries", 0),  # the pipeline retries
    # While the wait between two connects lasts, calls fail at once: a server that is back must be found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_KINDS: dict[str, type[BackendError]] = {
    "CANCELLED": TransportError,
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,
    "UNIMPLEMENTED": InvalidRequest,
    "ALREADY_EXISTS": InvalidRequest,
    "NOT_FOUND": ModelNotFound,
    "DEADLINE_EXCEEDED": ReadTimeout,
    "RESOURCE_EXHAUSTED": RateLimited,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": AuthenticationError,
    "UNAVAILABLE": TransportError,
}
_HEADER = re.compile(r"[0-9a-z_.-]+")
_FIRST_WORDS = {AuthenticationError: "Authentication error: ", RateLimited: "Rate limit: "}
# gRPC says all of these under the codes that servers use for other things; there is nothing else to tell them by.
_NO_CONNECTION = re.compile(r"failed to connect|DNS resolution failed|resolving|handshake", re.I)
_TOO_LARGE = re.compile(r"(sent|received|receive) .{0,40}message larger than max", re.I)
_UNREADABLE = re.compile(r"exception deserializing response|deserializ", re.I)
_NOT_READY = re.compile(r"not loaded yet|not (yet )?ready", re.I)
_UNKNOWN_MODEL = re.compile(r"unknown model|model.{0,300}not found", re.I | re.S)


class OipGrpcBackend:
    """Asks one server: ``async (Call) -> Reply``."""

    def __init__(self, spec: BackendSpec, base_url: str, options: Mapping[str, Any]) -> None:
        self.spec = spec
        self._url = base_url
        self._model = str(options.get("model") or "")
        self._version = str(options.get("version") or "")
        self._protocol = str(options.get("protocol") or "oip")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: Any = None
        self._methods: dict[str, Any] = {}

    async def __call__(self, call: Call) -> Reply:
        if call.stream:
            raise UnsupportedOperation("the Open Inference Protocol has no streams")
        if call.operation is Operation.INFER:
            method, message, binary = self._infer(call)
            response = await self._ask(method, message, call)
            reply = infer_reply(response, binary=binary)
        elif call.operation is Operation.RAW:
            method, message = about(call)
            response = await self._ask(method, message, call)
            reply = Reply(raw=said(method, response))
        else:
            raise UnsupportedOperation(
                f"over gRPC there is no operation {call.operation} (there is: infer); the server's other operations "
                "are REST, on another port: set base_url to http://..."
            )
        reply.backend = self.spec.name
        return reply

    def snapshot(self) -> dict[str, Any]:
        return {}

    async def aclose(self) -> None:
        channel, self._channel = self._channel, None
        self._methods = {}
        if channel is not None and self._loop is asyncio.get_running_loop():
            await channel.close()

    # --- calls ---------------------------------------------------------------------------------------------------

    async def _ask(self, method: str, message: Any, call: Call) -> Any:
        grpc = grpc_module("grpc")
        metadata, secret, name = _metadata(call)
        limits = [] if call.deadline is None else [call.deadline - time.monotonic()]
        if call.timeouts is not None and call.timeouts.first_byte is not None:
            limits.append(call.timeouts.first_byte)
        try:
            asked = self._method(method)(
                message, timeout=max(min(limits), 0.001) if limits else None, metadata=metadata
            )
            return await asked  # a caller who leaves cancels it
        except grpc.RpcError as problem:
            failure = _error(problem)
        except (TypeError, ValueError) as problem:
            raise ConfigurationError(f"the request cannot be sent: {problem}") from None
        failure.backend = self.spec.name
        if secret is not None:
            failure.message = failure.message.replace(secret, f"[key {name}]")
            failure.args = (failure.message,)
        raise failure  # out here, so that gRPC's error is not dragged along: it holds our metadata

    def _method(self, name: str) -> Any:
        """The call of a method, on a channel that belongs to the running loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._channel = None
            self._methods = {}
        if self._channel is None:
            self._channel = self._connect()
        found = self._methods.get(name)
        if found is None:
            found = self._methods[name] = self._channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=message_class(f"{name}Request").SerializeToString,
                response_deserializer=message_class(f"{name}Response").FromString,
            )
        return found

    def _connect(self) -> Any:
        parts = urlsplit(self._url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if not parts.hostname or port is None or parts.path.strip("/") or parts.query:
            raise ConfigurationError("the base URL of a model server by gRPC is grpc://host:port, or grpcs://host:port")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        grpc, aio = grpc_module("grpc"), grpc_module("grpc.aio")
        if parts.scheme == "grpcs":
            return aio.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(), options=_OPTIONS)
        return aio.insecure_channel(f"{host}:{port}", options=_OPTIONS)

    # --- inferences ----------------------------------------------------------------------------------------------

    def _infer(self, call: Call) -> tuple[str, Any, bool]:
        request, protocol = infer_request(call, model=self._model, version=self._version, protocol=self._protocol)
        if protocol != "oip":
            raise UnsupportedOperation(f"over gRPC there is the protocol 'oip' alone, not {protocol!r}")
        return "ModelInfer", infer_message(request), bool(request.options.get("binary"))


# --- metadata and errors -----------------------------------------------------------------------------------------


def _metadata(call: Call) -> tuple[tuple[tuple[str, str], ...], str | None, str]:
    """What goes with the call; and the key's value and name, to be taken out of what comes back."""
    headers = {name.lower(): value for name, value in (call.headers or {}).items()}
    key = call.lease.key if call.lease is not None else None
    secret = key.secret.reveal() if key is not None and key.secret is not None else None
    if secret is not None:
        headers.setdefault("authorization", f"Bearer {secret}")
    for header, value in headers.items():
        # gRPC would find out itself, with an error that holds the value.
        if not _HEADER.fullmatch(header) or not (value.isascii() and value.isprintable()):
            raise ConfigurationError(f"the header {header!r} cannot be sent by gRPC")
    return tuple(headers.items()), secret, key.name if key is not None else ""


def _error(problem: Any) -> BackendError:
    """One of the tree for gRPC's status."""
    code = problem.code().name
    words = problem.details() or "(no details)"
    kind = _KINDS.get(code, ServerError)
    outage = None
    if _TOO_LARGE.search(words):
        kind = InvalidRequest if words.lower().startswith("sent") else ProtocolError
    elif code == "INTERNAL" and _UNREADABLE.search(words):
        kind = ProtocolError
    elif kind in (TransportError, ModelNotFound) and _NOT_READY.search(words):
        kind, outage = ServerError, False
    elif code == "UNAVAILABLE" and _NO_CONNECTION.search(words):
        kind = ConnectFailed
    elif kind in (TransportError, InvalidRequest, ServerError) and _UNKNOWN_MODEL.search(words):
        kind = ModelNotFound
    if kind is ReadTimeout:
        words = f"the upstream did not answer within the call's limit of time ({words})"
    error = kind(_FIRST_WORDS.get(kind, "") + words, type=code)
    if outage is not None:
        error.outage = outage
    for name, value in problem.trailing_metadata() or ():
        if name == "grpc-retry-pushback-ms" and str(value).isdigit():
            error.retry_after = int(value) / 1000.0
    return error
