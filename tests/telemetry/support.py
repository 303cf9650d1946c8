"""What the tests of telemetry share: OpenTelemetry's own SDK in memory, and a collector on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.types import Operation
from tests.upstreams import RawServer, read_request

__all__ = ["Collector", "Meters", "Spans", "attributes", "collector", "make_record"]

#: In what the tests ask and are answered, and in nothing that may be exported without being asked for.
SECRET_WORD = "xylophone-secret-7"


class Spans:
    """A provider whose finished spans are kept."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.all() if not span.name.startswith("attempt")]

    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name.startswith("attempt")]

    def one(self) -> ReadableSpan:
        """The span of the one call that was made."""
        [span] = self.calls()
        return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


class Meters:
    """A provider whose metrics are read when asked for."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self) -> dict[str, list[Any]]:
        """By name of the metric."""
        data = self.reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
        return found


class Collector:
    """Takes OTLP over HTTP, as protocol buffers, and keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[str] = []
        self.traces: list[Any] = []
        self.metrics: list[Any] = []

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for export in self.traces
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            raw, body = await read_request(reader)
            head = raw.decode("latin-1")
            self.heads.append(head)
            if "content-encoding: gzip" in head.lower():
                body = gzip.decompress(body)
            if head.startswith("POST /v1/traces "):
                self.traces.append(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
            else:
                assert head.startswith("POST /v1/metrics "), head
                self.metrics.append(ExportMetricsServiceRequest.FromString(body))
                answer = ExportMetricsServiceResponse().SerializeToString()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n%b"
                % (len(answer), answer)
            )
            await writer.drain()


@contextlib.asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    async with RawServer(found.play) as server:
        found.url = server.url.removesuffix("/v1")
        yield found


def make_record(**fields: Any) -> CallRecord:
    """The record of a call that went well, but for what is said."""
    return CallRecord(
        **{
            "request_id": "req_1",
            "started": 1.0,
            "operation": Operation.CHAT,
            "backend": "openai",
            "model": "gpt-4o",
            "alias": "gpt-4o",
            "latency": 0.1,
            **fields,
        }
    )
