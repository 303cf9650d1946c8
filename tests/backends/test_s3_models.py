"""Models: whole, verified, never half there, and never outside their folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.backends.s3.manifest import FORMAT, read_manifest, scan
from ipfs_accelerate_py.backends.s3.names import inside, unsafe
from ipfs_accelerate_py.errors import ConfigurationError, IntegrityError, NotFound, ServerError, StoreError
from tests.s3_server import Fault, Peer, Proxy

Make = Callable[..., Client]
WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b"{}", "weights/a.bin": WEIGHTS, "weights/copy.bin": WEIGHTS, "empty": b"", "naïve ü.txt": b"x"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def up(client: Client, folder: Path, version: str | None = "1.0", **arguments: Any) -> dict[str, Any]:
    given = {"path": folder, "name": "meta/tiny", "version": version, **arguments}
    found: dict[str, Any] = client.store("upload_model", **given).raw
    return found


def down(client: Client, folder: Path, version: str | None = "1.0") -> dict[str, Any]:
    found: dict[str, Any] = client.store("download_model", name="meta/tiny", version=version, destination=folder).raw
    return found


def versions(client: Client, name: str | None = None) -> list[tuple[str, str]]:
    return [(each["name"], each["version"]) for each in client.store("list_models", name=name).raw["models"]]


def test_a_folder_goes_up_and_comes_down_whole(peer: Peer, client: Client, model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = up(client, model, metadata={"licence": "MIT"}, progress=lambda *told: seen.append(told))
    assert (made["files"], made["uploaded"], made["metadata"]) == (5, 4, {"licence": "MIT"})  # two are the same bytes
    assert seen[-1] == (made["uploaded_bytes"], made["uploaded_bytes"])
    manifest = json.loads(peer.get("models/manifests/meta/tiny/1.0.json"))
    assert {file["path"]: file["sha256"] for file in manifest["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()
    }
    assert "cid" not in json.dumps(manifest)
    found = down(client, tmp_path / "got")
    assert contents(tmp_path / "got") == FILES
    assert (found["version"], found["downloaded"], found["metadata"]) == ("1.0", 5, {"licence": "MIT"})
    assert versions(client) == [("meta/tiny", "1.0")]


def test_what_is_there_is_not_sent_or_fetched_again(proxy: Proxy, clients: Make, model: Path, tmp_path: Path) -> None:
    client = clients(proxy.url)
    up(client, model)
    proxy.requests.clear()
    assert up(client, model)["uploaded"] == 0
    assert proxy.asked("PUT") == []
    down(client, tmp_path / "got")
    (model / "config.json").write_bytes(b'{"new": 1}')
    made = up(client, model, "1.1")
    assert (made["uploaded"], made["uploaded_bytes"]) == (1, 10)
    (tmp_path / "got" / "empty").write_bytes(b"spoilt")
    (tmp_path / "got" / "of mine").write_bytes(b"kept")
    assert down(client, tmp_path / "got", "1.1")["downloaded"] == 2
    assert contents(tmp_path / "got") == {**FILES, "config.json": b'{"new": 1}', "of mine": b"kept"}
    assert down(client, tmp_path / "got", "1.1")["downloaded"] == 0


def test_a_version_never_changes(client: Client, model: Path, tmp_path: Path) -> None:
    up(client, model)
    (model / "config.json").write_bytes(b"other")
    with pytest.raises(StoreError, match="never changes") as raised:
        up(client, model)
    assert raised.value.code == "version_exists"
    down(client, tmp_path / "got")
    assert contents(tmp_path / "got") == FILES


def test_without_a_version_it_is_called_by_what_it_holds_and_the_newest_is_fetched(
    client: Client, model: Path, tmp_path: Path
) -> None:
    first = up(client, model, None)["version"]
    assert up(client, model, None)["version"] == first
    (model / "config.json").write_bytes(b"newer")
    second = up(client, model, None)["version"]
    assert second != first
    assert down(client, tmp_path / "got", None)["version"] == second  # made within the same second, as a rule
    assert {version for _, version in versions(client, "meta/tiny")} == {first, second}
    assert versions(client, "meta") == []
    with pytest.raises(NotFound, match="none"):
        client.store("download_model", name="none", destination=tmp_path / "none")
    with pytest.raises(NotFound, match=r"'9'"):
        down(client, tmp_path / "none", "9")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("fails", ["blobs/", "manifests/"])
def test_a_model_that_is_half_uploaded_is_not_listed(
    peer: Peer, proxy: Proxy, clients: Make, model: Path, tmp_path: Path, fails: str
) -> None:
    client = clients(proxy.url, max_retries=0, parallel=1)
    proxy.play(Fault(when=lambda method, path: method == "PUT" and fails in path, status=500))
    with pytest.raises(ServerError):
        up(client, model)
    assert versions(client) == []
    assert [key for key in peer.keys() if "manifests" in key] == []  # noqa: SIM118  # a list of its own
    with pytest.raises(NotFound):
        down(client, tmp_path / "got")
    up(client, model)  # goes on with what is there
    down(client, tmp_path / "got")
    assert contents(tmp_path / "got") == FILES


def test_nothing_is_put_in_its_place_before_everything_is_right(
    peer: Peer, client: Client, model: Path, tmp_path: Path
) -> None:
    up(client, model)
    key = "models/blobs/" + hashlib.sha256(WEIGHTS).hexdigest()
    peer.put(key, WEIGHTS[:-1] + b"?")
    with pytest.raises(IntegrityError, match="SHA-256"):
        down(client, tmp_path / "got")
    assert not any(name in contents(tmp_path / "got") for name in FILES)
    peer.put(key, WEIGHTS)
    down(client, tmp_path / "got")
    assert contents(tmp_path / "got") == FILES


def test_a_download_that_broke_off_goes_on(proxy: Proxy, clients: Make, model: Path, tmp_path: Path) -> None:
    client = clients(proxy.url, max_retries=3, parallel=1)
    up(client, model)
    proxy.play(Fault(when=lambda method, path: method == "GET" and "blobs" in path, status=500))
    reply = client.store("download_model", name="meta/tiny", destination=tmp_path / "got")
    assert (reply.attempts, contents(tmp_path / "got")) == (2, FILES)


# --- paths that lead elsewhere -----------------------------------------------------------------------------------

ASTRAY = [
    "../x",
    "/etc/x",
    "a/../../x",
    "a//b",
    "./a",
    "",
    "C:/x",
    "C:x",
    "a\\b",
    "..\\x",
    "a\x00b",
    "a\n",
    "con",
    "a.",
]


def forged(**changes: Any) -> bytes:
    file = {"path": "a", "size": 1, "sha256": "0" * 64}
    made = {"format": FORMAT, "name": "meta/tiny", "version": "1.0", "created": 1.0, "files": [file]}
    return json.dumps({**made, **changes}).encode()


@pytest.mark.parametrize("path", ASTRAY)
def test_a_manifest_that_leads_astray_is_refused(peer: Peer, client: Client, tmp_path: Path, path: str) -> None:
    digest = hashlib.sha256(b"!").hexdigest()
    peer.put("models/manifests/meta/tiny/1.0.json", forged(files=[{"path": path, "size": 1, "sha256": digest}]))
    peer.put("models/blobs/" + digest, b"!")
    with pytest.raises(IntegrityError, match="names the file"):
        down(client, tmp_path / "deep" / "got")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"<html>",
        forged(format="other/1"),
        forged(name="other"),
        forged(version="2"),
        forged(files=[{"path": "a", "size": -1, "sha256": "0" * 64}]),
        forged(files=[{"path": "a", "size": 1, "sha256": "../" + "0" * 61}]),
        forged(files=[{"path": "a", "size": 1, "sha256": "0" * 64}] * 2),
        forged(files=[{"path": each, "size": 1, "sha256": "0" * 64} for each in ("a", "a/b")]),
    ],
)
def test_a_manifest_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read_manifest(data, "meta/tiny", "1.0")


def test_a_manifest_may_say_more_than_is_known_today() -> None:
    file = {"path": "a", "size": 1, "sha256": "0" * 64, "later": "bafy"}
    assert read_manifest(forged(files=[file], later=1), "meta/tiny", "1.0").files[0].path == "a"


@given(st.text(alphabet=st.sampled_from("ab./\\:\0 ~é")))
def test_no_accepted_path_leaves_the_folder(path: str) -> None:
    if not unsafe(path):
        folder = Path("/somewhere/folder")
        assert os.path.normpath(folder / path).startswith("/somewhere/folder/")
        assert inside(folder, path) == folder / path


def test_a_link_in_the_destination_is_not_followed_out_of_it(client: Client, model: Path, tmp_path: Path) -> None:
    up(client, model)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "weights").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="link"):
        down(client, tmp_path / "got")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "got" / "weights").unlink()
    (tmp_path / "elsewhere" / "precious").write_bytes(b"mine")
    (tmp_path / "got" / "config.json").symlink_to(tmp_path / "elsewhere" / "precious")
    down(client, tmp_path / "got")
    assert (tmp_path / "elsewhere" / "precious").read_bytes() == b"mine"
    assert contents(tmp_path / "got") == FILES


def test_links_that_lead_out_are_not_uploaded_unless_they_are_meant(tmp_path: Path, model: Path) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    (model / "inside").symlink_to(model / "config.json")
    assert "inside" in [file.path for file in scan(model)]
    (model / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigurationError, match="leads out"):
        scan(model)
    assert "link" in [file.path for file in scan(model, follow_symlinks=True)]
    (model / "link").unlink()
    (model / "folder").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="leads out"):
        scan(model)
    (model / "folder").unlink()
    (model / "loop").symlink_to(model)
    with pytest.raises(ConfigurationError, match="already"):
        scan(model)


def test_folders_that_are_no_model_are_refused(client: Client, tmp_path: Path, model: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for folder in (tmp_path / "nothing", tmp_path / "none"):
        with pytest.raises(ConfigurationError):
            up(client, folder)
    os.mkfifo(model / "pipe")
    with pytest.raises(ConfigurationError, match="regular file"):
        up(client, model)
    (model / "pipe").unlink()
    (model / "a:b").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="colon"):
        up(client, model)


@pytest.mark.parametrize(("name", "version"), [("../x", "1"), ("a//b", "1"), ("/a", "1"), ("a", "../1"), ("a", "1/2")])
def test_names_and_versions_are_plain(client: Client, model: Path, name: str, version: str) -> None:
    with pytest.raises(ConfigurationError):
        client.store("upload_model", path=model, name=name, version=version)
    with pytest.raises(ConfigurationError):
        client.store("download_model", name=name, version=version, destination=model)
