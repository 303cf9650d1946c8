"""Our client against MLServer, a real server of the Open Inference Protocol that is not ours: REST and gRPC."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.api_backends import ovms
from ipfs_accelerate_py.errors import InvalidRequest, ModelNotFound, UnsupportedOperation
from ipfs_accelerate_py.types import Tensor

from .processes import healthy, running

#: In a virtual environment of its own: it needs other versions of some packages than we do.
PROGRAM = Path(__file__).resolve().parents[2] / ".tools" / "mlserver" / "bin" / "mlserver"
pytestmark = [
    pytest.mark.realserver,
    pytest.mark.skipif(not PROGRAM.is_file(), reason="MLServer is not installed (`make` puts it into .tools)"),
]

MATRIX = Tensor("x", [2, 2], "FP32", [[1.0, 2.0], [3.0, 4.5]])
KINDS: dict[str, tuple[list[Any], list[Any]]] = {
    "BOOL": ([True, False], [False, True]),
    "INT8": ([1, -2], [2, -4]),
    "INT16": ([1, -2], [2, -4]),
    "INT32": ([1, -2], [2, -4]),
    "INT64": ([1, -(1 << 61)], [2, -(1 << 62)]),
    "UINT8": ([1, 100], [2, 200]),
    "UINT16": ([1, 2], [2, 4]),
    "UINT32": ([1, 2], [2, 4]),
    "UINT64": ([1, 1 << 62], [2, 1 << 63]),
    "FP32": ([1.5, -2.0], [3.0, -4.0]),
    "FP64": ([1.5, -2.0], [3.0, -4.0]),
    "BYTES": (["ab", "c€"], ["ba", "€c"]),
}


class Addresses(NamedTuple):
    rest: str
    grpc: str
    metrics: str


def _free_ports(count: int) -> list[int]:
    """MLServer wants to be told its ports, and cannot say which it got."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    folder = tmp_path_factory.mktemp("mlserver")
    http, grpc, metrics = _free_ports(3)
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
        "debug": False,
    }
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    model = {
        "name": "double",
        "implementation": "mlserver_model.Doubler",
        "platform": "numpy",
        "inputs": [tensor],
        "outputs": [tensor],
        "parameters": {"version": "v1"},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "double").mkdir()
    (folder / "double" / "model-settings.json").write_text(json.dumps(model))
    shutil.copy(Path(__file__).with_name("mlserver_model.py"), folder / "double")
    url = f"http://127.0.0.1:{http}"
    with running(
        [str(PROGRAM), "start", str(folder)],
        log=folder / "server.log",
        env=dict(os.environ),
        ready=lambda output: url if healthy(f"{url}/v2/health/ready") else None,
        seconds=300,
    ):
        yield Addresses(url, f"grpc://127.0.0.1:{grpc}", f"http://127.0.0.1:{metrics}")


@pytest.fixture(params=["rest", "grpc"])
def client(server: Addresses, request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "grpc":
        pytest.importorskip("grpc")
    with Client("ovms", base_url=getattr(server, request.param), max_retries=0) as made:
        yield made


def test_tensors_as_json_and_as_typed_contents(client: Client) -> None:
    given = [Tensor(kind, [2], kind, values) for kind, (values, _) in KINDS.items()]
    reply = client.infer("double", given, binary=False, id="7")
    assert (reply.model, reply.id, reply.raw["model_version"]) == ("double", "7", "v1")
    found = {tensor.name: [_text(value) for value in tensor.data] for tensor in reply.tensors}
    assert found == {kind: expected for kind, (_, expected) in KINDS.items()}
    [matrix] = client.infer("double", [MATRIX], version="v1").tensors
    assert (matrix.shape, matrix.data) == ([2, 2], [2.0, 4.0, 6.0, 9.0])


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def test_raw_bytes_both_ways(server: Addresses) -> None:
    """Over REST this server does not have the extension for binary tensors; over gRPC it has raw contents."""
    pytest.importorskip("grpc")
    with Client("ovms", base_url=server.grpc, max_retries=0) as client:
        given = [Tensor(kind, [2], kind, values) for kind, (values, _) in KINDS.items()]
        given.append(Tensor("FP16", [2], "FP16", np.array([1.5, -2.0], np.float16)))
        reply = client.infer("double", given, binary=True)
        for tensor in reply.tensors[:-2]:
            array = np.array(KINDS[tensor.name][1], tensor.datatype.lower().replace("fp", "float"))
            assert tensor.data == array.tobytes(), tensor.name
        assert reply.tensors[-2].data == b"\2\0\0\0ba\4\0\0\0" + "€c".encode()
        assert reply.tensors[-1].data == np.array([3.0, -4.0], np.float16).tobytes()
    with Client("ovms", base_url=server.rest, max_retries=0) as client, pytest.raises(InvalidRequest) as refused:
        client.infer("double", [Tensor("x", [2], "UINT8", b"\1\2")], binary=True)
    assert refused.value.status == 422


def test_what_server_and_models_say_of_themselves(client: Client) -> None:
    assert client.request("/v2", method="GET").raw["name"] == "mlserver"
    about = client.request("/v2/models/double", method="GET").raw
    assert (about["platform"], about["inputs"]) == ("numpy", [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}])
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/double/ready",
        "/v2/models/double/versions/v1/ready",
    ):
        client.request(path, method="GET")


def test_errors(client: Client) -> None:
    for model, version in (("nope", ""), ("double", "9")):
        with pytest.raises(ModelNotFound, match="not found"):
            client.infer(model, [MATRIX], version=version)
    with pytest.raises(ModelNotFound):
        client.request("/v2/models/nope", method="GET")
    with pytest.raises((InvalidRequest, UnsupportedOperation)):
        client.chat("double", "Hello")
    assert client.infer("double", [MATRIX]).tensors[0].data == [2.0, 4.0, 6.0, 9.0]


async def test_many_at_once(server: Addresses) -> None:
    async with AsyncClient("ovms", base_url=server.rest, max_concurrent_requests=8) as client:
        given = [Tensor("x", [1], "INT64", [number]) for number in range(32)]
        replies = await asyncio.gather(*(client.infer("double", [tensor]) for tensor in given))
        assert [reply.tensors[0].data for reply in replies] == [[2 * number] for number in range(32)]


@pytest.mark.parametrize("road", ["rest", "grpc"])
def test_the_older_api(server: Addresses, road: str) -> None:
    with ovms(metadata={"ovms_api_url": getattr(server, road), "ovms_model": "double"}) as api:
        answer = api.infer(data=[[1, 2], [3, 4]])
        assert (answer["outputs"], answer["version"]) == ({"x": [[2.0, 4.0], [6.0, 8.0]]}, "v1")
        assert [each["output"] for each in api.batch_infer(batch=[[[1, 2]], [[3, 4]]])] == [[[2.0, 4.0]], [[6.0, 8.0]]]
        assert api.get_model_metadata()["name"] == "double"
        # It has no TensorFlow Serving's API: only whether the model is ready can be told.
        assert api.get_model_status()["available"] is True


def test_statistics_are_read_from_its_metrics(server: Addresses) -> None:
    with ovms(base_url=server.metrics) as api:
        assert api.get_server_statistics()["metrics"]["model_infer_request_success_total"]
