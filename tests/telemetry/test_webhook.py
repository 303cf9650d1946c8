"""Alerts by webhook: signed, tried again a bounded number of times, in nobody's way, and silent about the URL."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConnectFailed, InvalidRequest
from ipfs_accelerate_py.simulator import SimulatorThread
from ipfs_accelerate_py.telemetry import webhook as module
from ipfs_accelerate_py.telemetry.alerts import ALERT_LOGGER, Notice
from ipfs_accelerate_py.telemetry.webhook import SIGNATURE, TIMESTAMP, Webhook
from tests.upstreams import RawServer, client_of, read_request, whole

SECRET_URL = "https://hooks.example.com/services/T000/B000/very-secret"


def notice(name: str = "a") -> Notice:
    return Notice(
        alert=name, state="firing", severity="warning", metric="error_rate", value=0.5, threshold=0.1, samples=9,
        since=1.0, at=2.0,
    )  # fmt: skip


class Receiver:
    """Answers with these statuses, or raises, in turn; then with 200."""

    def __init__(self, *plays: Any) -> None:
        self.plays = list(plays)
        self.got: list[tuple[str, Mapping[str, str], dict[str, Any]]] = []
        self.slept: list[float] = []

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.got.append((url, headers, json.loads(body)))
        play = self.plays.pop(0) if self.plays else 200
        if isinstance(play, Exception):
            raise play
        assert isinstance(play, int)
        return play

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def webhook(self, **options: Any) -> Webhook:
        return Webhook(SECRET_URL, post=self.post, sleep=self.sleep, wall=lambda: 1234.5, **options)


async def test_it_posts_what_slack_understands() -> None:
    receiver = Receiver()
    hook = receiver.webhook(headers={"X-Team": "blue"})
    hook(notice())
    await hook.drain()
    [(url, headers, body)] = receiver.got
    assert url == SECRET_URL
    assert body["text"] == "WARNING: a: error_rate is 0.5, at or above 0.1 over 9 calls"
    assert (body["alert"], body["state"], body["value"], body["threshold"]) == ("a", "firing", 0.5, 0.1)
    assert dict(headers) == {"Content-Type": "application/json", "X-Team": "blue"}
    assert hook.snapshot() == {"host": "hooks.example.com", "sent": 1, "failed": 0, "dropped": 0, "waiting": 0}


async def test_it_is_tried_again_and_given_up(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(500, ConnectFailed("down"), 429)
    hook = receiver.webhook()
    hook(notice())
    await hook.drain()
    assert (len(receiver.got), hook.sent, receiver.slept) == (4, 1, [1.0, 4.0, 16.0])

    receiver = Receiver(*[503] * 20)
    hook = receiver.webhook()
    with caplog.at_level(logging.ERROR, ALERT_LOGGER):
        hook(notice("first"))
        hook(notice("second"))
        await hook.drain()
    assert (len(receiver.got), hook.failed) == (10, 2)
    assert receiver.slept[:4] == [1.0, 4.0, 16.0, 60.0]
    assert "'first' could not be told to hooks.example.com: HTTP status 503, after 5 attempts" in caplog.text


@pytest.mark.parametrize("play", [404, 302, InvalidRequest("no"), RuntimeError("boom")])
async def test_what_will_not_get_better_is_not_tried_again(play: Any, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(play)
    hook = receiver.webhook()
    with caplog.at_level(logging.CRITICAL, ALERT_LOGGER):
        hook(notice())
        await hook.drain()
    assert (len(receiver.got), hook.failed) == (1, 1)


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    receiver = Receiver()
    hook = receiver.webhook()
    for number in range(10):
        hook(notice(str(number)))
    await hook.drain()
    assert [body["alert"] for _, _, body in receiver.got] == ["7", "8", "9"]
    assert hook.dropped == 7


async def test_it_can_be_signed() -> None:
    receiver = Receiver()
    hook = receiver.webhook(secret="shared")
    hook(notice())
    await hook.drain()
    _, headers, body = receiver.got[0]
    signed = b"1234." + json.dumps(body, separators=(",", ":")).encode()
    assert headers[TIMESTAMP] == "1234"
    assert headers[SIGNATURE] == "v1=" + hmac.new(b"shared", signed, hashlib.sha256).hexdigest()


async def test_the_url_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(ConnectFailed(f"no route to {SECRET_URL}"), RuntimeError(SECRET_URL))
    hook = receiver.webhook(secret="shared-secret")
    with caplog.at_level(logging.DEBUG):
        hook(notice())
        await hook.drain()
    told = caplog.text + repr(hook) + str(hook.snapshot())
    assert "very-secret" not in told
    assert "shared-secret" not in told


async def test_over_a_real_socket_by_our_own_transport(sim: SimulatorThread) -> None:
    got: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await read_request(reader)
        got.append(head + body)
        writer.write(whole({"ok": True}, 200 if len(got) > 1 else 500))
        await writer.drain()

    async with RawServer(play) as server, client_of(sim.url) as client:
        client.add_alert(
            "error_rate", above=0, for_seconds=0, min_samples=0, webhook=server.url + "/hook/abc", secret="s", log=False
        )
        hook = client.usage_policy.observers[0].sinks()[0]  # type: ignore[attr-defined]
        hook._sleep = lambda seconds: asyncio.sleep(0)
        await client.chat("gpt-4o", "x")
        await client.flush_alerts()
    assert len(got) == 2
    assert got[1].startswith(b"POST /v1/hook/abc HTTP/1.1\r\n")
    assert b"X-Ipfs-Accelerate-Signature: v1=" in got[1]
    assert b'"alert":"error_rate"' in got[1]


async def test_a_receiver_that_never_answers_holds_up_no_call(sim: SimulatorThread) -> None:
    waiting = asyncio.Event()

    async def post(url: str, headers: Mapping[str, str], body: bytes) -> int:
        waiting.set()
        await asyncio.Event().wait()
        return 200

    async with client_of(sim.url) as client:
        client.add_alert(
            "error_rate", above=0, for_seconds=0, min_samples=0, webhook=SECRET_URL, send=post, log=False, repeat=1
        )
        await client.chat("gpt-4o", "x")
        alerts: Any = client.usage_policy.observers[0]
        alerts.evaluate()
        await waiting.wait()
        for _ in range(5):
            await client.chat("gpt-4o", "x")
        task = alerts.sinks()[0]._task
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
