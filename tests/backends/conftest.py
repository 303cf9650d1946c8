"""A store on this machine, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Peer, Proxy, proxied, store

OPTIONS: dict[str, Any] = {
    "access_key": ACCESS_KEY,
    "secret_key": SECRET_KEY,
    "bucket": BUCKET,
    "initial_retry_delay": 0.001,
    "part_size": 1 << 20,
}


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with store(tmp_path_factory.mktemp("moto")) as peer:
        yield peer


@pytest.fixture
def peer(moto: Peer) -> Peer:
    moto.empty()
    return moto


@pytest.fixture
def proxy(peer: Peer) -> Iterator[Proxy]:
    with proxied(peer.url) as made:
        yield made


@pytest.fixture
def clients() -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(url: str, **options: Any) -> Client:
        made.append(Client("s3_kit", base_url=url, **{**OPTIONS, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(peer: Peer, clients: Callable[..., Client]) -> Client:
    return clients(peer.url)


def asynchronous(url: str, **options: Any) -> AsyncClient:
    return AsyncClient("s3", base_url=url, **{**OPTIONS, **options})
