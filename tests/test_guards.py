"""The guards around every test see what they are there to see, also where the test swallows the error."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from tests.conftest import ROOT
from tests.guards import environment, network
from tests.guards.everywhere.sitecustomize import NetworkForbidden, is_local

#: Addresses and names that documentation may use and nobody answers at (RFC 5737, RFC 2606).
ELSEWHERE = "192.0.2.1"
NAME_ELSEWHERE = "www.example.org"

WRONG = f"""
import asyncio, socket, subprocess, sys, threading
import aiohttp, pytest, uvloop

kept = []

async def test_leaves_a_task():
    kept.append(asyncio.create_task(asyncio.sleep(60)))

def test_leaves_a_task_of_another_loop():
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(60)))
    uvloop.run(main())

def test_leaves_a_thread():
    threading.Thread(target=threading.Event().wait, args=(20,), daemon=True, name="forgotten").start()

def test_leaves_a_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_swallows_a_connection():
    with pytest.raises(Exception):
        socket.create_connection(("{ELSEWHERE}", 80), timeout=1)

def test_swallows_a_look_up():
    with pytest.raises(Exception):
        socket.getaddrinfo("{NAME_ELSEWHERE}", 80)

async def test_swallows_a_connection_of_aiohttp():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Exception):
            await session.get("http://{ELSEWHERE}/")

def test_swallows_a_connection_in_a_child():
    code = "import socket; socket.create_connection(('{ELSEWHERE}', 80), timeout=1)"
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 1

@pytest.fixture
async def server():
    async def answer(reader, writer):
        writer.close()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()

async def test_is_good(server):
    reader, writer = await asyncio.open_connection(*server)
    assert await reader.read() == b""
    writer.close()
"""


def test_each_offence_fails_its_own_test_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-rA", "-q", str(tmp_path / "test_wrong.py")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = set(re.findall(r"^ERROR .*::(\w+)", done.stdout, re.MULTILINE))
    assert errors == set(re.findall(r"def (test_(?:leaves|swallows)\w+)", WRONG)), done.stdout
    assert re.search(r"^PASSED .*::test_is_good", done.stdout, re.MULTILINE)
    assert not re.search(r"^FAILED", done.stdout, re.MULTILINE), done.stdout


def test_uvloop_connects_nowhere_else() -> None:
    async def connect() -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, ELSEWHERE, 80)

    with pytest.raises(NetworkForbidden):
        uvloop.run(connect())

    async def look_up() -> None:
        await asyncio.get_running_loop().getaddrinfo(NAME_ELSEWHERE, 80)

    with pytest.raises(NetworkForbidden):
        uvloop.run(look_up())
    assert [offence.partition(" (")[0] for offence in network.offences()] == [
        f"connection to {ELSEWHERE} port 80",
        f"look-up of {NAME_ELSEWHERE}",
    ]


def test_datagrams_go_nowhere_else() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(NetworkForbidden):
        datagrams.sendto(b"?", (ELSEWHERE, 53))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, pytest.raises(NetworkForbidden):
        datagrams.sendmsg([b"?"], [], 0, (ELSEWHERE, 53))
    assert len(network.offences()) == 2


def test_names_are_looked_up_nowhere_else() -> None:
    for ask in (socket.gethostbyname, socket.gethostbyname_ex, socket.gethostbyaddr):
        with pytest.raises(NetworkForbidden):
            ask(NAME_ELSEWHERE)
    assert len(network.offences()) == 3
    assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"


def test_threads_begin_however_many_others_do_under_a_tracer() -> None:
    """An audit hook of Python's would be interrupted between them on Python 3.11, and kill the second."""
    code = """
import sys, threading
assert "sitecustomize" in sys.modules
sys.setswitchinterval(1e-6)
threading.settrace(lambda frame, event, arg: None)
ran = []
def begin():
    for _ in range(100):
        thread = threading.Thread(target=ran.append, args=(1,))
        thread.start()
        thread.join()
threads = [threading.Thread(target=begin) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(ran))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("400\n", "")


def test_a_name_that_nobody_has_fails_as_in_the_real_world() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("nobody.invalid", 80)
    assert network.offences() == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost", "0.0.0.0", ""])
def test_this_machine(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "fe80::1%eth0", "::ffff:8.8.8.8", "localhost.example.org"])
def test_other_machines(host: str) -> None:
    assert not is_local(host)


def test_nothing_personal_is_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_API_KEY_2", "GROQ_BASE_URL", "https_proxy", "HF_HOME", "AWS_PROFILE"):
        monkeypatch.setenv(name, "personal")
    monkeypatch.setenv("HOME", "to be restored")
    environment.clean(tmp_path)
    assert "personal" not in os.environ.values()
    assert Path.home() == tmp_path
    assert not any((folder / ".env").exists() for folder in (Path.cwd(), *Path.cwd().parents))
