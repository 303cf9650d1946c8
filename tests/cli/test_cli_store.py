"""``store``: files and models in a real S3-compatible store, with boto3 looking at what was done."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_accelerate_py.cli.failures import ExitCode
from tests.cli.conftest import Invoke, Result
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Peer, store

Store = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with store(tmp_path_factory.mktemp("moto")) as peer:
        yield peer


@pytest.fixture
def peer(server: Peer) -> Peer:
    server.empty()
    return server


@pytest.fixture
def ask(peer: Peer, invoke: Invoke) -> Store:
    """The command with everything about the store in the environment. The secret must not be in what it says."""
    env = {
        "S3_ENDPOINT": peer.url, "S3_BUCKET": BUCKET, "S3_REGION": "us-east-1",
        "S3_ACCESS_KEY": ACCESS_KEY, "S3_SECRET_KEY": SECRET_KEY,
    }  # fmt: skip

    def run(*arguments: str) -> Result:
        done = invoke("store", *arguments, env=env)
        assert SECRET_KEY not in done.stdout + done.stderr
        return done

    return run


def test_an_object_goes_and_comes_back(ask: Store, peer: Peer, home: Path) -> None:
    (home / "a.txt").write_text("content")
    assert ask("upload", "a.txt", "folder/a.txt").stdout == "folder/a.txt\n"
    assert peer.get("folder/a.txt") == b"content"
    [line] = ask("list", "--prefix", "folder/").stdout.splitlines()
    assert line.split("\t")[:2] == ["folder/a.txt", "7"]
    assert json.loads(ask("head", "folder/a.txt", "--json").stdout)["size"] == 7
    assert ask("download", "folder/a.txt", "b.txt").stdout.endswith("b.txt\n")
    assert (home / "b.txt").read_text() == "content"
    with urllib.request.urlopen(ask("url", "folder/a.txt", "--expires", "60").stdout.strip()) as answer:
        assert answer.read() == b"content"
    assert ask("delete", "folder/a.txt").exit_code == 0
    assert peer.keys() == []


def test_a_model_is_a_verified_whole(ask: Store, peer: Peer, home: Path) -> None:
    folder = home / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights.bin").write_bytes(b"w" * 5000)
    assert ask("upload-model", "model", "mine", "--version", "v1").stdout == "mine\tv1\n"
    assert [line.split("\t")[:2] for line in ask("models").stdout.splitlines()] == [["mine", "v1"]]
    assert ask("download-model", "mine", "copy", "--json").exit_code == 0
    assert (home / "copy" / "weights.bin").read_bytes() == b"w" * 5000
    [blob] = [key for key in list(peer.keys()) if len(peer.get(key)) == 5000]
    peer.put(blob, b"x" * 5000)
    spoilt = ask("download-model", "mine", "other")
    assert spoilt.exit_code == ExitCode.UPSTREAM
    assert not (home / "other" / "weights.bin").exists()


def test_what_is_not_there_and_what_is_missing(ask: Store, invoke: Invoke, home: Path) -> None:
    assert ask("download", "nothing").exit_code == ExitCode.UPSTREAM
    assert ask("upload", "no-such-file").exit_code == ExitCode.USAGE
    (home / "a.txt").write_text("content")
    assert "there is no such bucket" in ask("upload", "a.txt", "--bucket", "another-one").stderr
    lacking = invoke("store", "list", "--bucket", BUCKET, "--endpoint", "http://127.0.0.1:9")
    assert lacking.exit_code == ExitCode.AUTHENTICATION
    assert "S3_ACCESS_KEY" in lacking.stderr
