"""Which of the server's three faces a call goes to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.ovms.dialect import OvmsDialect
from ipfs_accelerate_py.dialects.ovms.metrics import read_metrics, statistics
from ipfs_accelerate_py.errors import ConfigurationError, ModelNotFound, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    CountRequest,
    InferRequest,
    ModerationRequest,
    Operation,
    Passthrough,
    Tensor,
)

from .support import chat, chunk, completion, embed, models, raw, sse, text_of

X = Tensor("x", [1], "FP32", [1.0])


def infer(model: str = "m", version: str = "", *, stream: bool = False, **options: Any) -> Call:
    request = InferRequest(model, [X], version, options)
    return Call(operation=Operation.INFER, request=request, request_id="r", stream=stream)


def test_openais_format_is_under_v3() -> None:
    dialect = OvmsDialect()
    paths = [dialect.encode(call).path for call in (chat(), completion(), embed("a"), models())]
    assert paths == ["/v3/chat/completions", "/v3/completions", "/v3/embeddings", "/v3/models"]
    assert {Operation.RERANK, Operation.TRANSCRIBE, Operation.SPEAK, Operation.IMAGE} <= dialect.operations
    # A path of the caller's own is taken as it is.
    assert dialect.encode(raw("/metrics", method="GET")).path == "/metrics"
    forwarded = chat()
    forwarded.passthrough = Passthrough("openai", b'{"model": "x"}')
    wire = dialect.encode(forwarded)
    assert (wire.path, wire.body) == ("/v3/chat/completions", b'{"model": "x"}')


def test_a_stream_is_openais() -> None:
    call = chat(stream=True)
    decoder = OvmsDialect().stream_decoder(call)
    body = sse(chunk("a"), chunk("b"), chunk(finish="stop"))
    chunks = [each for at in range(len(body)) for each in decoder.feed(body[at : at + 1])]
    assert (text_of(chunks), decoder.finished) == ("ab", True)


@pytest.mark.parametrize(
    ("row", "call", "path"),
    [
        ({}, infer(), "/v2/models/m/infer"),
        ({}, infer(version="3"), "/v2/models/m/versions/3/infer"),
        ({}, infer(protocol="tfs"), "/v1/models/m:predict"),
        ({"protocol": "tfs"}, infer(version="3"), "/v1/models/m/versions/3:predict"),
        ({"protocol": "tfs"}, infer(protocol="oip"), "/v2/models/m/infer"),
        ({"model": "d", "version": "2"}, infer(""), "/v2/models/d/versions/2/infer"),
        ({"model": "d", "version": "2"}, infer("d"), "/v2/models/d/versions/2/infer"),
        ({"model": "d", "version": "2"}, infer("", "1"), "/v2/models/d/versions/1/infer"),
        # The version is that model's, and no other's.
        ({"model": "d", "version": "2"}, infer("m"), "/v2/models/m/infer"),
        ({"version": "2"}, infer("m"), "/v2/models/m/versions/2/infer"),
    ],
)
def test_inferences_go_where_row_and_call_say(row: dict[str, Any], call: Call, path: str) -> None:
    wire = OvmsDialect(**row).encode(call)
    assert wire.path == path
    assert b"protocol" not in (wire.body or b"")


def test_the_rows_model_is_taken_where_a_call_has_none() -> None:
    call = Call(operation=Operation.CHAT, request=ChatRequest("", [{"role": "user", "content": "a"}]), request_id="r")
    assert json.loads(OvmsDialect(model="d").encode(call).body or b"")["model"] == "d"
    assert call.request.model == ""
    assert json.loads(OvmsDialect(model="d").encode(chat()).body or b"")["model"] == "gpt-4o"


def test_what_is_not_there_is_refused_by_name() -> None:
    dialect = OvmsDialect()
    with pytest.raises(ConfigurationError, match="OVMS_MODEL"):
        dialect.encode(infer(""))
    with pytest.raises(ConfigurationError, match="oip, tfs"):
        dialect.encode(infer(protocol="grpc"))
    with pytest.raises(UnsupportedOperation, match="no stream"):
        dialect.encode(infer(stream=True))
    for operation, request in (
        (Operation.MODERATE, ModerationRequest("m", ["a"])),
        (Operation.COUNT, CountRequest("m", [{"role": "user", "content": "a"}])),
    ):
        call = Call(operation=operation, request=request, request_id="r")
        with pytest.raises(UnsupportedOperation, match=f"no operation {operation}"):
            dialect.encode(call)
        with pytest.raises(UnsupportedOperation):
            dialect.stream_decoder(call)


def test_answers_are_read_by_the_protocol_that_was_asked_in() -> None:
    dialect = OvmsDialect()
    oip = b'{"model_name": "m", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [2.0]}]}'
    assert dialect.decode(infer(), oip, {}).tensors[0].data == [2.0]
    assert dialect.decode(infer(protocol="tfs"), b'{"outputs": {"y": [2.0]}}', {}).tensors[0].data == [2.0]
    page = dialect.decode(raw("/metrics", method="GET"), b"up 1\n", {"content-type": "text/plain"})
    assert page.body == b"up 1\n"
    missing = b'{"error": "Mediapipe graph definition with requested name is not found"}'
    with pytest.raises(ModelNotFound):
        dialect.decode(chat(), missing, {})
    assert isinstance(dialect.error(404, {}, missing), ModelNotFound)


# --- metrics -----------------------------------------------------------------------------------------------------

PAGE = """
# HELP ovms_requests_success Number of successful requests to a model or a DAG.
# TYPE ovms_requests_success counter
ovms_requests_success{api="KServe",interface="REST",method="ModelInfer",name="a",version="1"} 4
ovms_requests_success{api="KServe",interface="gRPC",method="ModelInfer",name="a",version="1"} 2
ovms_requests_success{api="V3",interface="REST",name="b\\"\\\\\\n,{}"} 1 1700000000000
ovms_requests_fail{api="KServe",interface="REST",method="ModelInfer",name="a",version="1"} 3
ovms_current_requests{name="a",version="1",} 1
# TYPE ovms_request_time_us histogram
ovms_request_time_us_bucket{interface="REST",name="a",version="1",le="10"} 1
ovms_request_time_us_bucket{interface="REST",name="a",version="1",le="+Inf"} 4
ovms_request_time_us_sum{interface="REST",name="a",version="1"} 123.5
ovms_request_time_us_count{interface="REST",name="a",version="1"} 4
process_start 1e3
nothing NaN
"""


def test_prometheus_own_parser_reads_the_same() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    theirs = [
        # Prometheus' parser adds what counters end in.
        (sample.name.removesuffix("_total"), sample.labels, str(float(sample.value)))
        for family in text_string_to_metric_families(PAGE)
        for sample in family.samples
    ]
    ours = [(each.name, each.labels, str(each.value)) for each in read_metrics(PAGE)]
    assert sorted(theirs, key=str) == sorted(ours, key=str)


def test_statistics_add_up_by_model() -> None:
    found = statistics(read_metrics(PAGE))
    assert {name: found[name] for name in found if name not in ("models", "metrics")} == {
        "total_requests": 10,
        "successful_requests": 7,
        "failed_requests": 3,
        "current_requests": 1,
    }
    assert found["models"]["a"] == {
        "requests_success": 6,
        "requests_fail": 3,
        "current_requests": 1,
        "request_time_us_sum": 123.5,
        "request_time_us_count": 4,
    }
    assert list(found["models"]) == ["a", 'b"\\\n,{}']
    assert found["metrics"]["process_start"] == [{"labels": {}, "value": 1000.0}]


@pytest.mark.parametrize("line", ["<html>", "a{b} 1", 'a{b="1} 1', "a one", "a"])
def test_a_page_that_is_no_metrics_is_an_error(line: str) -> None:
    with pytest.raises(ProtocolError, match="metrics"):
        read_metrics(line)
