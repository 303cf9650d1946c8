"""The disk store across processes: a restart, two at once, and one that is killed in the midst of writing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from ipfs_accelerate_py.pipeline.cache import DiskStore
from ipfs_accelerate_py.pipeline.cache.stores import Pattern
from tests.pipeline.cache.store_conformance import name

_SAY = """
import asyncio, sys
from ipfs_accelerate_py.pipeline.cache import DiskStore
from tests.pipeline.cache.store_conformance import name
async def main():
    store = DiskStore(sys.argv[1], 50_000_000)
"""
ROOT = Path(__file__).resolve().parents[3]


def program(body: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    code = _SAY + lines + "asyncio.run(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


async def test_answers_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    first = program("store.put(name(1), b'kept', 1000)\nawait store.aclose()\nprint('done')", path)
    assert first.communicate(timeout=300)[0] == "done\n"
    second = program("print(await store.get([name(1), name(2)]))\nawait store.aclose()", path)
    assert second.communicate(timeout=300)[0] == "[b'kept', None]\n"


async def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    body = """
    begin = int(sys.argv[2])
    for number in range(begin, begin + 300):
        store.put(name(number), b'%d' % number, 1000)
        if number % 10 == 0:
            await store.flush()
            assert (await store.get([name(number)]))[0] == b'%d' % number
    await store.aclose()
    print('done')
    """
    flat = "\n".join(line[4:] for line in body.splitlines())
    both = [program(flat, path, begin) for begin in ("0", "200")]
    assert [each.communicate(timeout=120)[0] for each in both] == ["done\n"] * 2
    store = DiskStore(path)
    try:
        found = await store.get([name(number) for number in range(500)])
        assert found == [b"%d" % number for number in range(500)]
        assert store.snapshot()["entries"] == 500  # the total was kept by both
    finally:
        await store.aclose()


async def test_a_process_killed_in_the_midst_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    body = """
    number = 0
    while True:
        store.put(name(number), bytes([number % 256]) * 200_000, 1000)
        number += 1
        if number % 20 == 0:
            await store.flush()
            print(number, flush=True)
    """
    flat = "\n".join(line[4:] for line in body.splitlines())
    for _ in range(3):
        writing = program(flat, path)
        assert writing.stdout is not None
        for _ in range(3):
            told = int(writing.stdout.readline())
        writing.send_signal(signal.SIGKILL)
        writing.wait()
        writing.stdout.close()
        store = DiskStore(path, 50_000_000)
        try:
            found = await store.get([name(number) for number in range(told + 40)])
            for number, value in enumerate(found):
                assert value is None or value == bytes([number % 256]) * 200_000  # whole, or not there
            assert all(value is not None for value in found[:told])
            names = await store.names(Pattern("s"))
            assert store.snapshot()["entries"] == len(names)
            store.put(name(0), b"goes on", None)
            await store.flush()
            assert await store.get([name(0)]) == [b"goes on"]
        finally:
            await store.aclose()
