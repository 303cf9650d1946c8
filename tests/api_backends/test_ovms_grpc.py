"""The Open Inference Protocol by gRPC, against a server made of Triton's own stubs; `ovms` on top of it."""

from __future__ import annotations

import asyncio
import builtins
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.api_backends import ovms
from ipfs_accelerate_py.backends.oip_messages import METHODS, TABLE, message_class
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    ConnectFailed,
    InvalidRequest,
    MissingExtra,
    ModelNotFound,
    ProtocolError,
    RateLimited,
    ReadTimeout,
    ServerError,
    TransportError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.types import Tensor

grpc = pytest.importorskip("grpc")
pb: Any = pytest.importorskip("tritonclient.grpc.service_pb2")
stubs: Any = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")

X = Tensor("x", [2, 2], "FP32", [[1.0, 2.0], [3.0, 4.5]])
KINDS = {
    "BOOL": [True, False],
    "INT8": [1, -2],
    "INT16": [1, -2],
    "INT32": [1, -2],
    "INT64": [1, -(1 << 63)],
    "UINT8": [1, 255],
    "UINT16": [1, 2],
    "UINT32": [1, 2],
    "UINT64": [1, (1 << 64) - 1],
    "FP32": [1.5, -2.0],
    "FP64": [1.5, -2.0],
    "BYTES": [b"a", b"\xff\x00"],
}


class Echo(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers inferences with what came, in the form it came in; a model named like a status is refused with it."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.fail: list[tuple[str, str]] = []

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.fail:
            code, words = self.fail.pop(0)
            await context.abort(getattr(grpc.StatusCode, code), words, (("grpc-retry-pushback-ms", "20"),))
        if request.model_name == "slow":
            self.arrived.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        answer.parameters["kept"].double_param = 1.5
        for index, given in enumerate(request.inputs):
            output = answer.outputs.add(name=given.name, datatype=given.datatype, shape=given.shape)
            if request.raw_input_contents:
                answer.raw_output_contents.append(request.raw_input_contents[index])
            else:
                output.contents.CopyFrom(given.contents)
        if request.model_name == "short":
            del answer.raw_output_contents[0]
        return answer

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=True)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        return pb.ModelReadyResponse(ready=request.name == "a/b" and request.version in ("", "1"))

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(name="echo", version="1", extensions=["e"])

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        x = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 2])
        return pb.ModelMetadataResponse(name=request.name, versions=["1"], platform="p", inputs=[x], outputs=[x])


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, str]]:
    servicer = Echo()
    server = grpc.aio.server()
    stubs.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"grpc://127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def client(echo: tuple[Echo, str]) -> AsyncIterator[AsyncClient]:
    async with AsyncClient("ovms", base_url=echo[1], api_key="secret-key", initial_retry_delay=0.001) as made:
        yield made


async def test_raw_bytes_and_typed_contents(client: AsyncClient, echo: tuple[Echo, str]) -> None:
    tensors = [Tensor(kind, [2], kind, values) for kind, values in KINDS.items()]
    for binary in (None, True, False):
        reply = await client.infer("m", tensors, version="2", id="7", binary=binary)
        request = echo[0].requests[-1]
        assert (request.model_name, request.model_version, request.id) == ("m", "2", "7")
        assert bool(request.raw_input_contents) is (binary is not False)
        assert (reply.model, reply.id, reply.raw["parameters"]) == ("m", "7", {"kept": 1.5})
        for tensor in reply.tensors:
            if binary:
                assert isinstance(tensor.data, bytes)
                if tensor.datatype != "BYTES":
                    array = np.array(KINDS[tensor.name], tensor.datatype.lower().replace("fp", "float"))
                    assert tensor.data == array.tobytes()
            else:
                assert tensor.data == KINDS[tensor.name]
    halves = [Tensor(kind, [2], kind, [1.5, -2.0]) for kind in ("FP16", "BF16")]
    assert [tensor.data for tensor in (await client.infer("m", halves)).tensors] == [[1.5, -2.0]] * 2
    with pytest.raises(ConfigurationError, match="as bytes only"):
        await client.infer("m", halves, binary=False)


async def test_options_and_metadata(client: AsyncClient, echo: tuple[Echo, str]) -> None:
    given = {"flag": True, "small": -1, "large": 1 << 63, "text": "t", "number": 0.5}
    tensor = Tensor("x", [1], "FP32", [1.0], {"mine": 1})
    await client.infer("m", [tensor], parameters=given, outputs=["y"], headers={"X-Trace": "t"})
    request = echo[0].requests[-1]
    found = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()}
    assert found == given
    assert request.inputs[0].parameters["mine"].int64_param == 1
    assert [output.name for output in request.outputs] == ["y"]
    metadata = echo[0].metadata[-1]
    assert (metadata["authorization"], metadata["x-trace"]) == ("Bearer secret-key", "t")
    for options, kind, words in (
        ({"parameters": {"a": []}}, ConfigurationError, "'a' must be"),
        ({"sequence": 1}, UnsupportedOperation, "no option 'sequence'"),
        ({"protocol": "tfs"}, UnsupportedOperation, "'oip' alone"),
        ({"headers": {"bad header": "x"}}, ConfigurationError, "cannot be sent by gRPC"),
    ):
        with pytest.raises(kind, match=words):
            await client.infer("m", [tensor], **options)


async def test_what_server_and_models_say_of_themselves(client: AsyncClient) -> None:
    async def get(path: str) -> Any:
        return (await client.request(path, method="GET")).raw

    assert await get("/v2") == {"name": "echo", "version": "1", "extensions": ["e"]}
    assert (await get("/v2/health/live"), await get("/v2/health/ready")) == ({"live": True}, {"ready": True})
    assert await get("/v2/models/a%2Fb/versions/1/ready") == {"ready": True}
    x = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    assert await get("/v2/models/a%2Fb") == {
        "name": "a/b",
        "versions": ["1"],
        "platform": "p",
        "inputs": [x],
        "outputs": [x],
    }
    client.max_retries = 0
    with pytest.raises(ServerError, match="not ready") as problem:
        await get("/v2/models/other/ready")
    assert problem.value.outage is False
    for path in ("/v1/config", "/metrics", "/v2/models/a/infer"):
        with pytest.raises(UnsupportedOperation, match="REST API is on another port"):
            await get(path)
    with pytest.raises(UnsupportedOperation, match="no operation chat"):
        await client.chat("m", "Hello")
    with pytest.raises(UnsupportedOperation, match="no streams"):
        await client.stream("m", "Hello").start()
    with pytest.raises(UnsupportedOperation, match="no pool of keys"):
        client.add_api_key("second", "k")


@pytest.mark.parametrize(
    ("code", "words", "kind", "retryable"),
    [
        ("NOT_FOUND", "Model with requested name is not found", ModelNotFound, False),
        ("INTERNAL", "Model nope not found", ModelNotFound, False),
        ("INVALID_ARGUMENT", "Invalid input shape", InvalidRequest, False),
        ("FAILED_PRECONDITION", "no", InvalidRequest, False),
        ("UNIMPLEMENTED", "no such method", InvalidRequest, False),
        ("UNAUTHENTICATED", "no key", AuthenticationError, False),
        ("PERMISSION_DENIED", "not you", AuthenticationError, False),
        ("RESOURCE_EXHAUSTED", "too many", RateLimited, True),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)", ProtocolError, False),
        ("UNAVAILABLE", "overloaded", TransportError, True),
        ("UNAVAILABLE", "Model with requested version is not loaded yet", ServerError, True),
        ("DEADLINE_EXCEEDED", "late", ReadTimeout, False),
        ("CANCELLED", "by the server", TransportError, True),
        ("INTERNAL", "boom", ServerError, True),
        ("UNKNOWN", "boom, said secret-key", ServerError, True),
    ],
)
async def test_statuses(
    client: AsyncClient, echo: tuple[Echo, str], code: str, words: str, kind: type[BackendError], retryable: bool
) -> None:
    client.max_retries = 0
    echo[0].fail = [(code, words)]
    with pytest.raises(BackendError) as found:
        await client.infer("m", [X])
    error = found.value
    assert type(error) is kind
    assert (error.type, error.backend, error.retryable, error.retry_after) == (code, "ovms", retryable, 0.02)
    assert words.replace("secret-key", "[key explicit]") in str(error)
    assert "secret-key" not in repr(error)
    # The next call is none the worse for it.
    if kind is not AuthenticationError:
        assert (await client.infer("m", [X])).tensors[0].data == [1.0, 2.0, 3.0, 4.5]


async def test_failures_are_retried(client: AsyncClient, echo: tuple[Echo, str]) -> None:
    echo[0].fail = [("UNAVAILABLE", "a"), ("INTERNAL", "b")]
    assert (await client.infer("m", [X])).attempts == 3


async def test_an_answer_without_its_bytes_is_an_error(client: AsyncClient) -> None:
    with pytest.raises(ProtocolError, match="2 tensors and the bytes of 1"):
        await client.infer("short", [X, X])


async def test_the_deadline_and_a_caller_who_leaves_end_the_call_on_the_server(
    client: AsyncClient, echo: tuple[Echo, str]
) -> None:
    with pytest.raises(ReadTimeout, match="limit of time"):
        await client.infer("slow", [X], timeout=1.5)  # it must have arrived before
    await asyncio.wait_for(echo[0].cancelled.wait(), 60)
    echo[0].cancelled.clear()
    echo[0].arrived.clear()
    task = asyncio.ensure_future(client.infer("slow", [X]))
    await asyncio.wait_for(echo[0].arrived.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(echo[0].cancelled.wait(), 60)
    assert client.active_requests == 0


async def test_nobody_there_is_no_connection() -> None:
    async with AsyncClient("ovms", base_url="grpc://127.0.0.1:9", max_retries=0) as client:
        with pytest.raises(ConnectFailed, match="failed to connect"):
            await client.infer("m", [X])
    for wrong in ("grpc://127.0.0.1", "grpc://:80", "grpc://h:1/path", "grpc://h:port"):
        async with AsyncClient("ovms", base_url=wrong) as client:
            with pytest.raises(ConfigurationError, match=r"grpc://host:port"):
                await client.infer("m", [X])


async def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("grpc", "google"):
            raise ImportError(f"No module named {name!r}", name=name)
        return imported(name, *rest, **more)

    for name in [name for name in sys.modules if name.partition(".")[0] in ("grpc",)]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", without)
    async with AsyncClient("ovms", base_url="grpc://127.0.0.1:9") as client:
        with pytest.raises(MissingExtra, match=r"ipfs-accelerate-py\[grpc\]"):
            await client.infer("m", [X])


# --- the messages ------------------------------------------------------------------------------------------------

_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "specs"


def test_the_table_is_the_official_description() -> None:
    file = _FOLDER / "oip_v2_grpc.proto"
    if not file.is_file():
        pytest.skip("oip_v2_grpc.proto not found")
    text = re.sub(r"//[^\n]*", "", file.read_text())
    found: dict[str, list[tuple[str, int, str]]] = {}
    stack: list[str] = []
    token = re.compile(
        r"(?:message|service|oneof) (\w+)\s*\{|(\})"
        r"|(repeated )?((?:map<string, *\w+>)|\w+) (\w+) = (\d+);"
        r"|rpc (\w+)\([^)]*\) returns \([^)]*\) \{\}"
    )
    methods = []
    for match in token.finditer(text):
        opened, closed, repeated, kind, name, number, method = match.groups()
        if method:
            methods.append(method)
        elif opened:
            stack.append("" if match[0].startswith("oneof") else opened)
            if match[0].startswith("message"):
                found[".".join(stack)] = []
        elif closed:
            stack.pop()
        else:
            owner = ".".join(filter(None, stack))
            kind = re.sub(r"map<string, *(\w+)>", r"\1{}", kind) + ("[]" if repeated else "")
            bare = kind.rstrip("[]{}")
            found[owner].append(
                (name, int(number), kind.replace(bare, f"{owner}.{bare}") if f"{owner}.{bare}" in found else kind)
            )
    assert tuple(methods) == METHODS
    assert {name: tuple(fields) for name, fields in found.items()} == TABLE


@pytest.mark.parametrize("name", TABLE)
def test_tritons_messages_are_the_same_on_the_wire(name: str) -> None:
    theirs = pb
    for part in name.split("."):
        theirs = getattr(theirs, part)
    # Triton's description leaves some fields out, and has some of its own.
    known = {field.name: (field.number, field.type, field.is_repeated) for field in theirs.DESCRIPTOR.fields}
    ours = {
        field.name: (field.number, field.type, field.is_repeated) for field in message_class(name).DESCRIPTOR.fields
    }
    shared = ours.keys() & known.keys()
    assert {field: ours[field] for field in shared} == {field: known[field] for field in shared}
    assert ours.keys() - shared <= {"properties"}


# --- the older face ----------------------------------------------------------------------------------------------


async def test_the_older_face_infers_by_grpc(echo: tuple[Echo, str]) -> None:
    face = ovms(base_url=echo[1], model="a/b", version="1")
    try:
        answer = await face.ainfer(data=[[1, 2]])
        assert (answer["outputs"], answer["version"]) == ({"x": [[1.0, 2.0]]}, "1")
        assert (await face.aget_model_metadata())["platform"] == "p"
        assert (await face.aget_model_status())["available"] is True
        assert len(await face.abatch_infer(batch=[[[1, 2]], [[3, 4]]])) == 2
    finally:
        await face.aclose()
