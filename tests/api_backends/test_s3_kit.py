"""`s3_kit`: what the older API asks of it, with boto3 looking at what it has done."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import s3_kit
from ipfs_accelerate_py.errors import ConfigurationError, MissingCredential, NotFound, UnsupportedOperation
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Fault, Peer, proxied, store


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with store(tmp_path_factory.mktemp("moto")) as peer:
        yield peer


@pytest.fixture
def peer(moto: Peer) -> Peer:
    moto.empty()
    return moto


def metadata(url: str) -> dict[str, Any]:
    return {"s3cfg": {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, "endpoint": url, "region": "us-east-1"}}


@pytest.fixture
def face(peer: Peer) -> Iterator[s3_kit]:
    with s3_kit(resources={}, metadata=metadata(peer.url), initial_retry_delay=0.001) as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "folder" / "file.txt"
    made.parent.mkdir()
    made.write_bytes(b"content")
    return made


def test_the_six_verbs_by_position_and_by_name(peer: Peer, face: s3_kit, path: Path, tmp_path: Path) -> None:
    assert face.upload_file(path, BUCKET, "a/k")["size"] == 7
    assert face.upload_file(file_path=str(path), bucket=BUCKET, key="b")["key"] == "b"
    assert peer.keys() == ["a/k", "b"]
    assert face.head_object(BUCKET, "a/k")["sha256"] == face.head_object(bucket=BUCKET, key="b")["sha256"]
    assert [each["key"] for each in face.list_objects(BUCKET)["objects"]] == ["a/k", "b"]
    assert [each["key"] for each in face.list_objects(bucket=BUCKET, prefix="a/")["objects"]] == ["a/k"]
    face.download_file(BUCKET, "a/k", tmp_path / "one")
    face.download_file(bucket=BUCKET, key="b", file_path=str(tmp_path / "two"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == b"content"
    with urllib.request.urlopen(face.create_presigned_url(BUCKET, "b", expiration=60)) as answer:
        assert answer.read() == b"content"
    assert face.delete_object(BUCKET, "a/k")["deleted"] is True
    assert peer.keys() == ["b"]
    with pytest.raises(NotFound):
        face.head_object(BUCKET, "a/k")


def test_models_go_up_and_come_down(face: s3_kit, path: Path, tmp_path: Path) -> None:
    made = face.upload_model(path.parent, "tiny", version="1.0", bucket=BUCKET)
    assert (made["version"], made["files"]) == ("1.0", 1)
    assert [(each["name"], each["version"]) for each in face.list_models(bucket=BUCKET)] == [("tiny", "1.0")]
    face.download_model("tiny", version="1.0", destination=tmp_path / "got", bucket=BUCKET)
    assert (tmp_path / "got" / "file.txt").read_bytes() == b"content"


async def test_every_verb_has_its_awaitable_twin(face: s3_kit, path: Path, tmp_path: Path) -> None:
    await face.aupload_file(path, BUCKET, "k")
    found = await asyncio.gather(
        face.ahead_object(BUCKET, "k"),
        face.alist_objects(BUCKET),
        face.adownload_file(BUCKET, "k", tmp_path / "got"),
        face.acreate_presigned_url(BUCKET, "k"),
        face.aupload_model(path.parent, "tiny", bucket=BUCKET),
    )
    assert isinstance(found[3], str)
    assert len(await face.alist_models(bucket=BUCKET)) == 1
    await face.adownload_model("tiny", destination=tmp_path / "model", bucket=BUCKET)
    await face.adelete_object(BUCKET, "k")


def test_a_handler_does_each_operation(face: s3_kit, path: Path) -> None:
    handler = face.create_s3_endpoint_handler(bucket=BUCKET)
    assert handler("upload_file", file_path=path, key="k")["size"] == 7
    assert handler("head_object", key="k")["size"] == 7
    assert handler("create_presigned_url", key="k")["url"].startswith("http://127.0.0.1")
    assert handler("list_models")["models"] == []

    async def awaited() -> dict[str, Any]:
        return await handler("list_objects", prefix="k")

    assert len(asyncio.run(awaited())["objects"]) == 1
    with pytest.raises(UnsupportedOperation, match="upload_file"):
        handler("rename_object", key="k")["size"]


def test_it_stands_behind_the_queue_the_retries_and_the_breaker(peer: Peer, path: Path) -> None:
    with proxied(peer.url) as proxy, s3_kit(metadata=metadata(proxy.url), initial_retry_delay=0.001) as face:
        proxy.play(Fault(status=503), Fault(status=503))
        face.upload_file(path, BUCKET, "k", priority="HIGH", request_id="mine")
        assert len(proxy.asked("PUT")) == 3
        assert face.get_usage_stats()["successful_requests"] == 1
        assert face.get_queue_info()["active_requests"] == 0
        face.max_retries, face.failure_threshold = 0, 2
        proxy.play(Fault(status=500), Fault(status=500))
        for _ in range(2):
            with pytest.raises(ValueError, match="500"):
                face.list_objects(BUCKET)
        assert face.get_circuit_state() == "OPEN"
        other = face.create_endpoint(access_key="another", secret_key="secret")
        assert face.list_objects(BUCKET, endpoint_id=other)["objects"]
        assert "Credential=another/" in proxy.requests[-1][2]["authorization"]


def test_keys_and_bucket_from_the_environment(peer: Peer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_kit() as face, pytest.raises(MissingCredential, match="S3_ACCESS_KEY"):
        face.list_objects(BUCKET)
    for name, value in (
        ("ACCESS_KEY", ACCESS_KEY),
        ("SECRET_KEY", SECRET_KEY),
        ("ENDPOINT", peer.url),
        ("BUCKET", BUCKET),
    ):
        monkeypatch.setenv(f"S3_{name}", value)
    with s3_kit() as face:
        face.upload_file(path, key="k")
        assert face.head_object(key="k")["size"] == 7
        assert not any(secret in repr(vars(face)) + repr(face) for secret in (ACCESS_KEY, SECRET_KEY))


def test_what_does_not_fit_says_why(face: s3_kit, path: Path) -> None:
    uses: list[Any] = [
        lambda: face.add_api_key("name", "value"),
        lambda: face.create_endpoint(api_key="value"),
        lambda: face.make_post_request("/x", {}),
        lambda: face.queue_with_priority({"endpoint_url": "/x", "data": {}}),
    ]
    for use in uses:
        with pytest.raises(UnsupportedOperation):
            use()
    with pytest.raises(ConfigurationError, match="progress"):
        face.upload_file(path, BUCKET, "k", stream=True)
    with pytest.raises(ConfigurationError, match="'key'"):
        face.head_object(BUCKET)
