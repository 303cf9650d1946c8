"""Where the keys and the address come from, and what is never asked for them."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.backends import configured, open_backend
from ipfs_accelerate_py.backends.s3.access import AWS, Access, Keys
from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import ConfigurationError, MissingCredential, MissingExtra, UnsupportedOperation
from ipfs_accelerate_py.settings import Timeouts
from tests.s3_server import BUCKET, Fault, Peer, Proxy

LIMITS = Timeouts(connect=1, first_byte=1, first_content=None, idle=1)


def keys(metadata: dict[str, Any] | None = None, **options: Any) -> tuple[str, str, str | None] | None:
    backend = open_backend("s3", metadata=metadata, settings=options)
    found = Access(backend.base_url, backend.options).keys()
    if found is None:
        return None
    token = None if found.token is None else found.token.reveal()
    return found.access_key.reveal(), found.secret_key.reveal(), token


def test_keys_come_from_the_first_place_that_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("ACCESS_KEY_ID", "A"), ("SECRET_ACCESS_KEY", "S"), ("SESSION_TOKEN", "T")):
        monkeypatch.setenv(f"AWS_{name}", value)
    assert keys() == ("A", "S", "T")
    monkeypatch.setenv("S3_ACCESS_KEY", "A2")
    with pytest.raises(MissingCredential, match="S3_SECRET_KEY"):
        keys()
    monkeypatch.setenv("S3_SECRET_KEY", "S2")
    assert keys() == ("A2", "S2", None)  # a token belongs to its own keys
    assert keys({"s3cfg": {"accessKey": "A3", "secretKey": "S3"}}) == ("A3", "S3", None)
    assert keys({"s3cfg": {"accessKey": "A3", "secretKey": "S3"}}, access_key="A4", secret_key="S4") == (
        "A4",
        "S4",
        None,
    )
    assert keys(anonymous=True) is None


def test_address_region_and_bucket_come_from_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = {"endpoint": "https://minio:9000", "region": "eu-central-1", "bucket": "b"}
    backend = open_backend("s3_kit", metadata={"s3cfg": cfg})
    assert (backend.base_url, backend.options["region"], backend.options["bucket"]) == tuple(cfg.values())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://one")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert (open_backend("s3").base_url, open_backend("s3").options["region"]) == ("https://one", "eu-west-3")
    monkeypatch.setenv("S3_ENDPOINT", "https://two")
    assert open_backend("s3").base_url == "https://two"
    assert "s3_kit" not in [spec.name for spec in configured()]  # it answers no prompts


def test_amazon_s_own_address_is_of_the_region_and_the_bucket() -> None:
    def endpoint(bucket: str, **options: Any) -> tuple[str, bool]:
        return Access(AWS, options).endpoint(bucket)

    assert endpoint("b") == ("https://b.s3.us-east-1.amazonaws.com", True)
    assert endpoint("b", region="eu-west-3") == ("https://b.s3.eu-west-3.amazonaws.com", True)
    assert endpoint("b.c") == ("https://s3.us-east-1.amazonaws.com", False)
    assert endpoint("b", region="cn-north-1")[0].endswith(".cn")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("minio:9000", "https://host:port"),
        ("ftp://minio", "https://host:port"),
        ("https://", "https://host:port"),
        ("https://h:x", "no URL"),
        ("https://h?x=1", "https://host:port"),
        ("https://me:pass@h", "credentials"),
        ("http://minio:9000", "allow_http"),
        ("http://127.0.0.1.example:9000", "allow_http"),
    ],
)
def test_addresses_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        Access(url, {}).endpoint("b")
    assert "pass@" not in str(raised.value)


def test_plain_http_is_for_this_machine_or_where_it_is_meant() -> None:
    for url in ("http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9", "http://s3.localhost:9", "https://h"):
        assert Access(url, {}).endpoint("b") == (url, False)
    assert Access("http://minio:9", {"allow_http": True}).endpoint("b") == ("http://minio:9", False)


def test_without_keys_nobody_is_asked_for_some(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore would turn to a metadata service, whose address these variables move here."""
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", proxy.url)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", proxy.url)
    with Client("s3", base_url=proxy.url, bucket=BUCKET) as client:
        with pytest.raises(MissingCredential, match="S3_ACCESS_KEY") as raised:
            client.store("list_objects")
        assert str(raised.value).startswith("Authentication error")
    assert proxy.requests == []
    with Client("s3", base_url=proxy.url, bucket=BUCKET, anonymous=True) as client:
        assert client.store("list_objects").raw["objects"] == []
        with pytest.raises(MissingCredential, match="signed"):
            client.store("create_presigned_url", key="k")
    assert [method for method, _, _ in proxy.requests] == ["GET"]
    assert "authorization" not in proxy.requests[0][2]


def test_the_environment_sends_nobody_elsewhere(peer: Peer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore reads these by itself, and would prefer them to what it is told."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-other-keys")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with Client("s3", base_url=peer.url, bucket=BUCKET, access_key="A", secret_key="S") as client:
        assert client.store("list_objects").raw["objects"] == []
    assert proxy.requests == []
    with Client("s3", base_url=proxy.url, bucket=BUCKET, access_key="A", secret_key="S") as client:
        client.store("list_objects")
    headers = proxy.requests[0][2]
    assert "Credential=A/" in headers["authorization"]
    assert "x-amz-security-token" not in headers


def test_obstore_s_own_retries_are_off(proxy: Proxy) -> None:
    proxy.play(*[Fault(status=500)] * 3)
    client = Client("s3", base_url=proxy.url, bucket=BUCKET, access_key="A", secret_key="S", max_retries=0)
    with client, pytest.raises(ValueError, match="500"):
        client.store("list_objects")
    assert len(proxy.requests) == 1


def test_keys_are_not_in_what_obstore_prints() -> None:
    store = Access("http://127.0.0.1:9", {"access_key": Secret("AKEY"), "secret_key": Secret("SKEY")}).open(
        "bkt", LIMITS
    )
    assert not {"AKEY", "SKEY"} & set(f"{store!r} {store.config} {store.credential_provider!r}".split("'"))
    assert "SKEY" not in repr(Keys(Secret("AKEY"), Secret("SKEY")))


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "obstore":
            raise ImportError("No module named 'obstore'")
        return real(name, *args, **options)

    for name in [each for each in sys.modules if each.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    client = Client("s3", base_url="http://127.0.0.1:9", bucket=BUCKET, access_key="A", secret_key="S")
    with client, pytest.raises(MissingExtra, match=r"\[s3\]"):
        client.store("list_objects")


def test_a_pool_of_keys_does_not_fit() -> None:
    with pytest.raises(UnsupportedOperation, match="access_key"):
        AsyncClient("s3_kit", api_key="one")
    client = Client("s3", base_url="http://127.0.0.1:9", bucket=BUCKET, access_key="A", secret_key="S", part_size=0)
    with client, pytest.raises(ConfigurationError, match="part_size"):
        client.store("list_objects")
