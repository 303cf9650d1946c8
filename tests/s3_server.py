"""A store of objects for tests: moto's server, boto3 as an independent client of it, and a proxy that misbehaves."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import botocore.config  # type: ignore[import-untyped]

from tests.realserver.processes import healthy, running

BUCKET = "tests"
ACCESS_KEY = "AKIDEXAMPLE0123456789"
SECRET_KEY = "wJalrXUtnFEMI-a-secret-of-tests"
_EMULATOR = "from moto.server import main; import sys; main(sys.argv[1:])"


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[str]:
    """The URL of a moto server that takes parts of any size."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", _EMULATOR, "-H", "127.0.0.1", "-p", str(port)]
    env = {**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1"}
    ready = lambda output: url if healthy(url + "/moto-api/") else None  # noqa: E731  # as short as it is
    with running(command, log=folder / "moto.log", env=env, ready=ready, seconds=30):
        yield url


class Peer:
    """What boto3 sees and does in the store."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def empty(self) -> None:
        """A bucket with nothing in it, and nothing else."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        try:
            connection.request("POST", "/moto-api/reset")
            assert connection.getresponse().status == 200
        finally:
            connection.close()
        self.client.create_bucket(Bucket=BUCKET)

    def keys(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def put(self, key: str, data: bytes, **more: Any) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data, **more)

    def get(self, key: str) -> bytes:
        with self.client.get_object(Bucket=BUCKET, Key=key)["Body"] as body:
            data: bytes = body.read()
        return data

    def head(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.head_object(Bucket=BUCKET, Key=key)
        return found

    def uploads(self) -> list[dict[str, Any]]:
        """Uploads in parts that nobody has finished or taken back."""
        found: list[dict[str, Any]] = self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return found

    def close(self) -> None:
        self.client.close()


@contextlib.contextmanager
def store(folder: Path) -> Iterator[Peer]:
    with moto(folder) as url:
        peer = Peer(url)
        try:
            yield peer
        finally:
            peer.close()


@dataclass
class Fault:
    """One misbehaviour of the proxy, for the first request that ``when`` fits."""

    when: Callable[[str, str], bool] = lambda method, path: True
    #: Answer this instead of asking the store.
    status: int | None = None
    body: bytes = b""
    #: Of the store's answer, send so many bytes of the body, and break off.
    cut: int | None = None
    #: Wait for this before answering.
    hold: threading.Event | None = None


@dataclass
class Proxy:
    """Stands before the store, writes down what is asked, and plays its faults."""

    url: str
    target: str
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def play(self, *faults: Fault) -> None:
        self.faults.extend(faults)

    def take(self, method: str, path: str) -> Fault:
        with self.lock:
            for fault in self.faults:
                if fault.when(method, path):
                    self.faults.remove(fault)
                    return fault
        return Fault()

    def asked(self, method: str) -> list[str]:
        """Paths of the requests of this method."""
        return [path for each, path, _ in self.requests if each == method]


@contextlib.contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def setup(self) -> None:
            connections.append(self.request)
            super().setup()

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle_one_request()

        def _play(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            proxy.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            fault = proxy.take(self.command, self.path)
            if fault.hold is not None:
                fault.hold.wait(20)
            if fault.status is not None:
                self._answer(fault.status, {}, fault.body, None)
                return
            connection = http.client.HTTPConnection(urlsplit(target).netloc, timeout=20)
            try:
                connection.request(self.command, self.path, data or None, dict(self.headers.items()))
                answer = connection.getresponse()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                self._answer(answer.status, headers, answer.read(), fault.cut)
            finally:
                connection.close()

        def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: int | None) -> None:
            self.send_response_only(status)
            length = headers.get("content-length") if self.command == "HEAD" else None
            for name, value in headers.items():
                if name not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("content-length", length or str(len(body)))
            self.end_headers()
            self.wfile.write(body if cut is None else body[:cut])

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _play

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.server_port}", target)
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="proxy")
        thread.start()
        try:
            yield proxy
        finally:
            for fault in proxy.faults:
                if fault.hold is not None:
                    fault.hold.set()
            server.shutdown()
            thread.join()
            # The client's pool may have opened one more than it came to need, and closing the server would wait for a
            # request on it for ever.
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
