"""Batches under way when something goes wrong, moment by moment."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest

from ipfs_accelerate_py.cli.batches import Embedding
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.cli.texts import Text
from ipfs_accelerate_py.cli.vectors import vector_writer
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.sync import Client
from ipfs_accelerate_py.types import Reply


class FakeClient:
    """Takes calls; when the first four of them end is left to the test."""

    def __init__(self) -> None:
        self.futures: list[Future[Reply]] = []
        self.cancelled: list[int] = []
        self.asynchronous = self
        self.embed = None

    def portal(self) -> FakeClient:
        return self

    def submit(self, future: Future[Reply], function: object, model: str, texts: list[str]) -> Callable[[], None]:
        number = len(self.futures)
        self.futures.append(future)
        if number >= 4:
            _answer(future)
        return lambda: self.cancelled.append(number)


def _run(client: FakeClient, texts: Iterator[Text], form: str, parallel: int = 4) -> tuple[Embedding, str]:
    file = io.StringIO()
    writer = vector_writer(form, None, file, Terminal())
    work = Embedding(
        cast(Client, client), "m", {}, writer, batch_size=1, parallel=parallel, progress=lambda count: None
    )
    with pytest.raises((KeyboardInterrupt, InvalidRequest)):
        work.run(texts)
    return work, file.getvalue()


def _answer(future: Future[Reply]) -> None:
    future.set_result(Reply(vectors=[[1.0]]))


def _indexes(written: str) -> list[Any]:
    return [json.loads(line)["index"] for line in written.splitlines()]


@pytest.mark.parametrize(("form", "kept"), [("jsonl", [0, 2]), ("text", [0])])
def test_an_interrupt_keeps_what_is_done_and_cancels_the_rest(form: str, kept: list[int]) -> None:
    client = FakeClient()

    def texts() -> Iterator[Text]:
        yield from map(Text, "abcd")
        _answer(client.futures[0])
        _answer(client.futures[2])
        raise KeyboardInterrupt

    work, written = _run(client, texts(), form)
    assert work.written == len(kept)
    assert written.count("\n") == len(kept)
    assert form == "text" or _indexes(written) == kept
    assert client.cancelled == [0, 1, 2, 3]  # harmless for those that are done


@pytest.mark.parametrize(("form", "kept"), [("jsonl", [0, 1, 3, 4]), ("text", [0, 1])])
def test_an_error_waits_for_what_was_sent(form: str, kept: list[int]) -> None:
    client = FakeClient()

    def texts() -> Iterator[Text]:
        yield from map(Text, "abcd")
        for number in (0, 1, 3):
            _answer(client.futures[number])
        client.futures[2].set_exception(InvalidRequest("too long"))
        yield Text("e")

    work, written = _run(client, texts(), form)
    assert work.written == len(kept)
    assert form == "text" or _indexes(written) == kept


def test_nothing_more_is_sent_after_an_error() -> None:
    client = FakeClient()

    def texts() -> Iterator[Text]:
        yield Text("a")
        client.futures[0].set_exception(InvalidRequest("no"))
        yield Text("b")
        pytest.fail("nobody needs the next text")

    _run(client, texts(), "jsonl", parallel=1)
    assert len(client.futures) == 1
