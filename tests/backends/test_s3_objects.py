"""The six verbs, with boto3 looking at what they have done."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import (
    AccelerateError,
    AuthenticationError,
    BackendError,
    ConfigurationError,
    ConnectFailed,
    InvalidRequest,
    NotFound,
    ProtocolError,
    RateLimited,
    ReadTimeout,
    ServerError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.settings import Timeouts
from tests.backends.conftest import asynchronous
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Fault, Peer, Proxy

Make = Callable[..., Client]


def error(code: str, message: str = "said so") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>R1</RequestId></Error>".encode()


def test_a_file_goes_up_and_comes_down(peer: Peer, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "naïve name.txt"
    path.write_bytes(b"content")
    made = client.store(
        "upload_file", file_path=path, key="a/b ü.txt", metadata={"Owner": "me"}, content_type="text/plain"
    ).raw
    assert made["sha256"] == hashlib.sha256(b"content").hexdigest()
    seen = peer.head("a/b ü.txt")
    assert peer.get("a/b ü.txt") == b"content"
    assert (seen["ContentType"], seen["Metadata"]) == ("text/plain", {"owner": "me", "sha256": made["sha256"]})
    assert seen["ETag"] == made["etag"]
    found = client.store("download_file", key="a/b ü.txt", file_path=tmp_path / "new" / "file").raw
    assert (tmp_path / "new" / "file").read_bytes() == b"content"
    assert (found["size"], found["sha256"], found["resumed_from"]) == (7, made["sha256"], 0)
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["file"]
    client.store("download_file", key="a/b ü.txt", file_path=tmp_path / "new")
    assert (tmp_path / "new" / "b ü.txt").read_bytes() == b"content"
    head = client.store("head_object", key="a/b ü.txt").raw
    assert (head["size"], head["content_type"], head["metadata"]["owner"]) == (7, "text/plain", "me")
    assert client.store("upload_file", file_path=path).raw["key"] == "naïve name.txt"


def test_an_object_that_others_stored_is_fetched_too(peer: Peer, client: Client, tmp_path: Path) -> None:
    peer.put("k", b"theirs")
    assert client.store("download_file", key="k", file_path=tmp_path / "k").raw["size"] == 6
    peer.put("empty", b"")
    assert client.store("download_file", key="empty", file_path=tmp_path / "e").raw["size"] == 0
    assert (tmp_path / "e").read_bytes() == b""
    assert client.store("head_object", key="k").raw["sha256"] is None


def test_objects_are_listed_by_the_beginning_of_their_keys(peer: Peer, client: Client) -> None:
    keys = ["a.txt", "a/1", "a/2/x", "a/2/y", "ab", "b/1"]
    for key in keys:
        peer.put(key, b"12")

    def listed(**arguments: Any) -> Any:
        found = client.store("list_objects", **arguments).raw
        return [each["key"] for each in found["objects"]], found["prefixes"], found["truncated"]

    assert listed() == (keys, [], False)
    assert listed(prefix="a") == (keys[:5], [], False)
    assert listed(prefix="a/") == (keys[1:4], [], False)
    assert listed(prefix="a/2") == (keys[2:4], [], False)
    assert listed(prefix="nothing/") == ([], [], False)
    assert listed(delimiter="/") == (["a.txt", "ab"], ["a/", "b/"], False)
    assert listed(prefix="a/", delimiter="/") == (["a/1"], ["a/2/"], False)
    assert listed(prefix="a", delimiter="/") == (["a.txt", "ab"], ["a/"], False)
    assert listed(max_keys=2) == (keys[:2], [], True)
    assert listed(max_keys=6) == (keys, [], False)
    assert listed(start_after="a/2/x") == (keys[3:], [], False)
    (one,) = client.store("list_objects", prefix="b/").raw["objects"]
    assert (one["size"], one["etag"]) == (2, peer.head("b/1")["ETag"])
    with pytest.raises(UnsupportedOperation, match="'-'"):
        listed(delimiter="-")


def page(key: str, following: str = "") -> bytes:
    more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    entry = f"<Key>{key}</Key><LastModified>2025-01-01T00:00:00Z</LastModified><Size>1</Size><ETag>e</ETag>"
    return f"<ListBucketResult>{more}<Contents>{entry}</Contents></ListBucketResult>".encode()


def test_a_list_of_several_pages_is_read_to_its_end(proxy: Proxy, clients: Make) -> None:
    proxy.play(Fault(status=200, body=page("m/1", "next")), Fault(status=200, body=page("m/2")))
    listed = clients(proxy.url).store("list_objects", prefix="m/").raw["objects"]
    assert [each["key"] for each in listed] == ["m/1", "m/2"]
    assert "continuation-token=next" in proxy.requests[1][1]


def test_objects_are_deleted_whether_they_are_there_or_not(peer: Peer, client: Client) -> None:
    peer.put("k", b"1")
    assert client.store("delete_object", key="k").raw["deleted"] is True
    client.store("delete_object", key="k")
    assert peer.keys() == []
    with pytest.raises(NotFound, match="'k'"):
        client.store("head_object", key="k")


def test_presigned_urls_work_in_a_plain_http_client(peer: Peer, client: Client) -> None:
    url = client.store("create_presigned_url", key="a b/ü", expiration=60, method="PUT").raw["url"]
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data=b"by hand", method="PUT", headers=headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    assert peer.get("a b/ü") == b"by hand"
    found = client.store("create_presigned_url", key="a b/ü", method="get_object").raw
    assert (found["method"], found["expires_in"]) == ("GET", 3600)
    with urllib.request.urlopen(found["url"]) as answer:
        assert answer.read() == b"by hand"
    assert SECRET_KEY not in found["url"]
    for wrong in ({"expiration": 0}, {"expiration": 8 * 24 * 3600}, {"method": "PATCH"}):
        with pytest.raises(ConfigurationError):
            client.store("create_presigned_url", key="k", **wrong)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\x00b", "a\nb", "x" * 1025, 7])
def test_keys_that_would_become_others_are_refused(client: Client, key: Any) -> None:
    for verb in ("head_object", "delete_object", "create_presigned_url"):
        with pytest.raises(ConfigurationError, match="key"):
            client.store(verb, key=key)


def test_wrong_use_is_said_before_anything_is_sent(proxy: Proxy, clients: Make, tmp_path: Path) -> None:
    client = clients(proxy.url, bucket=None)
    with pytest.raises(ConfigurationError, match="no bucket"):
        client.store("list_objects")
    with pytest.raises(ConfigurationError, match="bucket"):
        client.store("list_objects", bucket="../x")
    with pytest.raises(UnsupportedOperation, match="upload_file"):
        client.store("rename_object", bucket=BUCKET)
    with pytest.raises(ConfigurationError, match="'key'"):
        client.store("head_object", bucket=BUCKET)
    with pytest.raises(ConfigurationError, match="'colour'"):
        client.store("upload_file", bucket=BUCKET, file_path=tmp_path, colour="red")
    with pytest.raises(ConfigurationError, match="regular file"):
        client.store("upload_file", bucket=BUCKET, file_path=tmp_path, key="k")
    with pytest.raises(ConfigurationError, match="No such file"):
        client.store("upload_file", bucket=BUCKET, file_path=tmp_path / "none", key="k")
    with pytest.raises(ConfigurationError, match="metadata"):
        client.store("upload_file", bucket=BUCKET, file_path=tmp_path, metadata={"sha256": "x"})
    with pytest.raises(UnsupportedOperation, match="chat"):
        client.chat("m", "Hello")
    with pytest.raises(UnsupportedOperation, match="pool of keys"):
        client.add_api_key("name", "value")
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "asked"),
    [
        (503, error("SlowDown"), RateLimited, "SlowDown", 3),
        (429, b"", RateLimited, "rate_limit_exceeded", 3),
        (500, error("InternalError"), ServerError, "InternalError", 3),
        (403, error("AccessDenied"), AuthenticationError, "AccessDenied", 1),
        (401, b"", AuthenticationError, "authentication_error", 1),
        (400, error("InvalidArgument"), InvalidRequest, "InvalidArgument", 1),
        (404, error("NoSuchBucket"), NotFound, "NoSuchBucket", 1),
    ],
)
def test_errors_of_the_store(
    proxy: Proxy,
    clients: Make,
    tmp_path: Path,
    status: int,
    body: bytes,
    kind: type[AccelerateError],
    code: str,
    asked: int,
) -> None:
    client = clients(proxy.url, max_retries=2)
    proxy.play(*[Fault(status=status, body=body)] * asked)
    with pytest.raises(kind) as raised:
        client.store("download_file", key="k", file_path=tmp_path / "k")
    assert (raised.value.code, len(proxy.requests)) == (code, asked)
    if isinstance(raised.value, BackendError):
        assert (raised.value.status, raised.value.backend, raised.value.attempts) == (status, "s3_kit", asked)
    else:
        assert kind is NotFound
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_asks_for_patience_gets_it(proxy: Proxy, clients: Make, peer: Peer) -> None:
    peer.put("k", b"1")
    proxy.play(Fault(status=503, body=error("SlowDown")), Fault(status=500))
    reply = clients(proxy.url).store("head_object", key="k")
    assert (reply.raw["size"], reply.attempts) == (1, 3)


def test_keys_are_in_no_error_repr_or_state(proxy: Proxy, clients: Make) -> None:
    client = clients(proxy.url, session_token="a-token-for-a-while")
    proxy.play(Fault(status=403, body=error("SignatureDoesNotMatch", f"{ACCESS_KEY} {SECRET_KEY} a-token-for-a-while")))
    with pytest.raises(AuthenticationError, match=r"\[access key\] \[secret key\] \[token\]") as raised:
        client.store("list_objects")
    said = f"{raised.value!r} {raised.value.__dict__} {client.snapshot()} {client.options} {client!r}"
    assert not any(secret in said for secret in (ACCESS_KEY, SECRET_KEY, "a-token-for-a-while"))
    assert proxy.requests[0][2]["x-amz-security-token"] == "a-token-for-a-while"


def test_a_store_that_is_not_there_opens_the_breaker(clients: Make) -> None:
    client = clients("http://127.0.0.1:1", max_retries=0, circuit_failure_threshold=2)
    for _ in range(2):
        with pytest.raises(ConnectFailed):
            client.store("list_objects")
    assert client.circuit_state == "OPEN"


def test_a_silent_store_is_left(proxy: Proxy, clients: Make) -> None:
    hold = threading.Event()
    proxy.play(*[Fault(hold=hold)] * 2)
    client = clients(proxy.url)
    with pytest.raises(ReadTimeout, match="silent"):
        client.store("list_objects", timeouts=Timeouts(connect=20, first_byte=20, first_content=None, idle=0.05))
    with pytest.raises(ReadTimeout, match="allowed"):
        client.store("list_objects", timeout=0.05)
    hold.set()


@pytest.mark.parametrize("body", [b"<html><head>sign in</html>", b""])
def test_what_is_no_store_is_an_error(proxy: Proxy, clients: Make, tmp_path: Path, body: bytes) -> None:
    client = clients(proxy.url)
    proxy.play(*[Fault(status=200, body=body)] * 2)
    with pytest.raises(ProtocolError):
        client.store("download_file", key="k", file_path=tmp_path / "k")
    with pytest.raises(ProtocolError):
        client.store("list_objects")
    assert list(tmp_path.iterdir()) == []


async def test_many_transfers_at_once(peer: Peer, tmp_path: Path) -> None:
    contents = {f"f{number}": os.urandom(2000 + number) for number in range(64)}
    async with asynchronous(peer.url, part_size=1500) as client:

        async def there_and_back(name: str) -> None:
            path = tmp_path / name
            path.write_bytes(contents[name])
            await client.store("upload_file", file_path=path, key=name)
            await client.store("download_file", key=name, file_path=tmp_path / f"{name}.back")

        await asyncio.gather(*map(there_and_back, contents))
        assert client.snapshot()["usage"]["successful_requests"] == 128
        assert client.active_requests == 0
    assert {name: (tmp_path / f"{name}.back").read_bytes() for name in contents} == contents
    assert all(peer.head(name)["ETag"].endswith('-2"') for name in contents)
    assert peer.uploads() == []
