"""Transfers that are large, break off, are cancelled, or bring other bytes than they should."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import IntegrityError, ServerError, StoreError, StreamCut
from tests.backends.conftest import asynchronous
from tests.s3_server import BUCKET, Fault, Peer, Proxy

Make = Callable[..., Client]
MEBIBYTE = 1 << 20
DATA = os.urandom(3 * MEBIBYTE + 11)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.write_bytes(DATA)
    return made


def is_part(method: str, path: str) -> bool:
    return method == "PUT" and "partNumber=" in path


def is_get(method: str, path: str) -> bool:
    return method == "GET"


@pytest.mark.parametrize(("size", "parts"), [(0, 0), (1, 0), (1000, 0), (1001, 2), (2000, 2), (2001, 3)])
def test_files_go_in_parts_where_they_are_larger_than_one(
    peer: Peer, client: Client, tmp_path: Path, size: int, parts: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA[:size])
    seen: list[tuple[int, int]] = []
    made = client.store(
        "upload_file", file_path=path, key="k", part_size=1000, progress=lambda *told: seen.append(told)
    ).raw
    assert peer.get("k") == DATA[:size]
    etag = peer.head("k")["ETag"].strip('"')
    assert etag.endswith(f"-{parts}") if parts else "-" not in etag
    assert peer.head("k")["Metadata"]["sha256"] == made["sha256"]
    assert seen == [(done, size) for done in range(1000, size, 1000)] + [(size, size)]


def test_progress_of_a_download_rises_to_its_end(peer: Peer, client: Client, tmp_path: Path) -> None:
    peer.put("k", DATA)
    seen: list[tuple[int, int]] = []
    client.store("download_file", key="k", file_path=tmp_path / "k", progress=lambda *told: seen.append(told))
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] == (len(DATA), len(DATA))


def test_a_download_that_breaks_off_goes_on_where_it_was(
    peer: Peer, proxy: Proxy, clients: Make, tmp_path: Path, path: Path
) -> None:
    client = clients(proxy.url, max_retries=0)
    client.store("upload_file", file_path=path, key="k")
    proxy.play(Fault(when=is_get, cut=2 * MEBIBYTE))
    with pytest.raises(StreamCut):
        client.store("download_file", key="k", file_path=tmp_path / "got")
    left = (tmp_path / "got.part").read_bytes()
    assert MEBIBYTE <= len(left) <= 2 * MEBIBYTE
    assert DATA.startswith(left)
    note = json.loads((tmp_path / "got.part.json").read_bytes())
    assert (note["key"], note["size"], note["etag"]) == ("k", len(DATA), peer.head("k")["ETag"])
    assert not (tmp_path / "got").exists()

    found = client.store("download_file", key="k", file_path=tmp_path / "got").raw
    assert (tmp_path / "got").read_bytes() == DATA
    assert (found["resumed_from"], found["sha256"]) == (len(left), DIGEST)
    headers = proxy.requests[-1][2]
    assert (headers["range"], headers["if-match"]) == (f"bytes={len(left)}-", note["etag"])
    assert {each.name for each in tmp_path.iterdir()} == {"data", "got"}


def test_retries_go_on_too(proxy: Proxy, clients: Make, tmp_path: Path, path: Path) -> None:
    client = clients(proxy.url)
    client.store("upload_file", file_path=path, key="k")
    proxy.play(Fault(when=is_get, cut=2 * MEBIBYTE), Fault(when=is_get, cut=MEBIBYTE + 7))
    reply = client.store("download_file", key="k", file_path=tmp_path / "got")
    assert (reply.attempts, (tmp_path / "got").read_bytes() == DATA) == (3, True)
    assert reply.raw["resumed_from"] > 2 * MEBIBYTE


def test_an_object_that_changed_meanwhile_is_fetched_from_its_beginning(
    peer: Peer, proxy: Proxy, clients: Make, tmp_path: Path
) -> None:
    client = clients(proxy.url, max_retries=0)
    peer.put("k", DATA)
    proxy.play(Fault(when=is_get, cut=2 * MEBIBYTE))
    with pytest.raises(StreamCut):
        client.store("download_file", key="k", file_path=tmp_path / "got")
    other = DATA[::-1]
    peer.put("k", other)
    found = client.store("download_file", key="k", file_path=tmp_path / "got").raw
    assert ((tmp_path / "got").read_bytes() == other, found["resumed_from"]) == (True, 0)


@pytest.mark.parametrize("left", ["wrong bytes", "all of it, wrong", "too long", "no note", "bad note", "another key"])
def test_what_was_left_is_not_believed(peer: Peer, client: Client, tmp_path: Path, path: Path, left: str) -> None:
    client.store("upload_file", file_path=path, key="k")
    part, note = tmp_path / "got.part", tmp_path / "got.part.json"
    about = {"bucket": BUCKET, "key": "k", "etag": peer.head("k")["ETag"], "size": len(DATA), "sha256": DIGEST}
    part.write_bytes(b"x" * {"all of it, wrong": len(DATA), "too long": len(DATA) + 5}.get(left, 1000))
    if left == "another key":
        about["key"] = "other"
    if left != "no note":
        note.write_text("{" if left == "bad note" else json.dumps(about))
    client.store("download_file", key="k", file_path=tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == DATA
    assert not part.exists()
    assert not note.exists()


def test_a_download_that_was_whole_but_for_its_name_asks_only_whether_it_still_is(
    proxy: Proxy, clients: Make, tmp_path: Path, path: Path, peer: Peer
) -> None:
    client = clients(proxy.url)
    client.store("upload_file", file_path=path, key="k")
    about = {"bucket": BUCKET, "key": "k", "etag": peer.head("k")["ETag"], "size": len(DATA), "sha256": DIGEST}
    (tmp_path / "got.part").write_bytes(DATA)
    (tmp_path / "got.part.json").write_text(json.dumps(about))
    assert client.store("download_file", key="k", file_path=tmp_path / "got").raw["resumed_from"] == len(DATA)
    assert (proxy.asked("GET"), len(proxy.asked("HEAD"))) == ([], 1)


def test_other_bytes_than_the_object_was_stored_with_are_refused(peer: Peer, client: Client, tmp_path: Path) -> None:
    peer.put("k", b"not these", Metadata={"sha256": hashlib.sha256(b"these").hexdigest()})
    (tmp_path / "got").write_bytes(b"what was here")
    with pytest.raises(IntegrityError, match="SHA-256"):
        client.store("download_file", key="k", file_path=tmp_path / "got")
    assert [each.name for each in tmp_path.iterdir()] == ["got"]
    assert (tmp_path / "got").read_bytes() == b"what was here"
    peer.put("j", b"plain")
    with pytest.raises(IntegrityError):
        client.store("download_file", key="j", file_path=tmp_path / "j", sha256="0" * 64)
    digest = hashlib.sha256(b"plain").hexdigest().upper()
    assert client.store("download_file", key="j", file_path=tmp_path / "j", sha256=digest).raw["size"] == 5


def test_a_part_is_not_written_through_a_link(peer: Peer, client: Client, tmp_path: Path) -> None:
    peer.put("k", b"theirs")
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "got.part").symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError, match="written"):
        client.store("download_file", key="k", file_path=tmp_path / "got")
    assert (tmp_path / "precious").read_bytes() == b"mine"


def test_two_downloads_do_not_write_to_one_file(peer: Peer, proxy: Proxy, clients: Make, tmp_path: Path) -> None:
    async def both() -> list[Any]:
        hold = threading.Event()
        proxy.play(Fault(when=is_get, hold=hold))
        async with asynchronous(proxy.url) as client:
            first = asyncio.ensure_future(client.store("download_file", key="k", file_path=tmp_path / "got"))
            while not proxy.requests:  # noqa: ASYNC110  # filled by another thread
                await asyncio.sleep(0.005)
            with pytest.raises(StoreError, match="already"):
                await client.store("download_file", key="k", file_path=tmp_path / "got")
            hold.set()
            return [await first]

    peer.put("k", b"one")
    asyncio.run(both())
    assert (tmp_path / "got").read_bytes() == b"one"


# --- uploads that do not end -------------------------------------------------------------------------------------


def test_an_upload_whose_part_fails_is_taken_back(peer: Peer, proxy: Proxy, clients: Make, path: Path) -> None:
    client = clients(proxy.url, max_retries=0)
    proxy.play(Fault(when=lambda method, path: is_part(method, path) and "partNumber=2" in path, status=500))
    with pytest.raises(ServerError):
        client.store("upload_file", file_path=path, key="k")
    assert (peer.keys(), peer.uploads()) == ([], [])
    proxy.play(Fault(when=is_part, status=503, body=b"<Error><Code>SlowDown</Code></Error>"))
    client.max_retries = 2
    assert client.store("upload_file", file_path=path, key="k").attempts == 2
    assert peer.get("k") == DATA


async def test_an_upload_that_is_cancelled_is_taken_back(peer: Peer, proxy: Proxy, path: Path) -> None:
    hold = threading.Event()
    proxy.play(Fault(when=is_part, hold=hold))
    async with asynchronous(proxy.url) as client:
        uploading = asyncio.ensure_future(client.store("upload_file", file_path=path, key="k"))
        while not proxy.asked("PUT"):  # noqa: ASYNC110  # filled by another thread
            await asyncio.sleep(0.005)
        uploading.cancel()
        asyncio.get_running_loop().call_later(0.05, hold.set)
        with pytest.raises(asyncio.CancelledError):
            await uploading
        assert client.active_requests == 0
        assert (peer.keys(), peer.uploads()) == ([], [])
        assert len(proxy.asked("DELETE")) == 1
        await client.store("upload_file", file_path=path, key="k")  # nothing is held of the first
    assert peer.get("k") == DATA


async def test_a_download_that_is_cancelled_leaves_what_it_has(peer: Peer, proxy: Proxy, tmp_path: Path) -> None:
    peer.put("k", DATA)
    arrived = asyncio.Event()
    async with asynchronous(proxy.url) as client:
        downloading = asyncio.ensure_future(
            client.store("download_file", key="k", file_path=tmp_path / "got", progress=lambda *told: arrived.set())
        )
        await arrived.wait()
        downloading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await downloading
        assert client.active_requests == 0
        assert (tmp_path / "got.part").stat().st_size >= MEBIBYTE
        found = await client.store("download_file", key="k", file_path=tmp_path / "got")
    assert found.raw["resumed_from"] >= MEBIBYTE
    assert (tmp_path / "got").read_bytes() == DATA


def test_a_file_that_changes_under_the_upload_is_not_stored(peer: Peer, client: Client, path: Path) -> None:
    def change(done: int, total: int) -> None:
        with path.open("r+b") as file:
            file.seek(len(DATA) - 3)
            file.write(b"new")

    with pytest.raises(StoreError, match="changed"):
        client.store("upload_file", file_path=path, key="k", progress=change)
    assert (peer.keys(), peer.uploads()) == ([], [])


def test_a_progress_that_fails_ends_the_transfer_with_its_own_error(
    peer: Peer, client: Client, tmp_path: Path, path: Path
) -> None:
    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        client.store("upload_file", file_path=path, key="k", progress=fail)
    assert (peer.keys(), peer.uploads()) == ([], [])
    peer.put("k", DATA)
    with pytest.raises(ZeroDivisionError, match="mine"):
        client.store("download_file", key="k", file_path=tmp_path / "got", progress=fail)
    assert client.store("download_file", key="k", file_path=tmp_path / "got").raw["size"] == len(DATA)
