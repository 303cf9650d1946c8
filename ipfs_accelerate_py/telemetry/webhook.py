"""Alerts to a webhook: a POST of JSON that Slack and its like understand, by our own transport.

Calls never wait for it: notices go into a queue of bounded length, and a task that is there only while there is
something to send takes them out, one after the other, with a bounded number of attempts each.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError
from ipfs_accelerate_py.telemetry.alerts import ALERT_LOGGER, Notice
from ipfs_accelerate_py.transport import HttpRequest, HttpTransport, Limits

__all__ = ["SIGNATURE", "TIMESTAMP", "Post", "Webhook", "post_over_http"]

#: ``v1=`` and the HMAC-SHA256, in hex, of the timestamp, a full stop, and the body.
SIGNATURE = "X-Ipfs-Accelerate-Signature"
TIMESTAMP = "X-Ipfs-Accelerate-Timestamp"
#: Notices that wait to be sent; when there are more the oldest is dropped, and counted.
MOST_WAITING = 100
ATTEMPTS = 5
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
_AGAIN = frozenset((408, 425, 429))

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[int]]
"""Sends a body to a URL with headers, and gives the HTTP status; raises `AccelerateError` where there was no answer."""


async def post_over_http(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """`Post` over our own transport. Follows no redirect."""
    transport = HttpTransport()
    try:
        limits = Limits(connect=10.0, first_byte=20.0, idle=10.0, max_body=1024 * 1024)
        response = await transport.send(HttpRequest("POST", url, headers, body), limits)
        status = response.status
        response.abort()  # what it says is of no interest
        return status
    finally:
        await transport.aclose()


class Webhook:
    """A sink that posts. Its URL is as good as a password: it is in no message, no representation, no snapshot.

    Args:
        url: where to; ``https``, or ``http`` for a receiver of one's own.
        secret: signs what is sent (see `SIGNATURE`).
        headers: sent along.
        post: sends; our own transport unless another one is given.
        sleep, wall: for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        headers: Mapping[str, str] | None = None,
        post: Post = post_over_http,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("a webhook needs a URL that begins with https:// (or http://)")
        self._url = url
        self._secret = secret.encode()
        self._headers = dict(headers or {})
        self._post = post
        self._sleep = sleep
        self._wall = wall
        self._waiting: deque[Notice] = deque()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: The host, for messages.
        self.host = parts.hostname
        self.sent = self.failed = self.dropped = 0

    def __repr__(self) -> str:
        return f"Webhook({self.host!r})"

    def __call__(self, notice: Notice) -> None:
        """Put a notice into the queue."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # another program loop, or a forked child: what the other one has is its own
            self._waiting.clear()
            self._task, self._loop = None, loop
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(notice)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._send_all(), name="ipfs-accelerate-alerts")

    async def drain(self) -> None:
        """Wait until all that is in the queue has been sent, or given up."""
        task = self._task
        if task is not None and not task.done() and self._loop is asyncio.get_running_loop():
            await asyncio.shield(task)

    def snapshot(self) -> dict[str, int | str]:
        """How many were sent, failed for good, dropped, and wait."""
        return {
            "host": self.host,
            "sent": self.sent,
            "failed": self.failed,
            "dropped": self.dropped,
            "waiting": len(self._waiting),
        }

    async def _send_all(self) -> None:
        while self._waiting:
            notice = self._waiting.popleft()
            told = await self._send(notice)
            if told is None:
                self.sent += 1
            else:
                self.failed += 1
                logging.getLogger(ALERT_LOGGER).error(
                    "the alert %r could not be told to %s: %s", notice.alert, self.host, told
                )

    async def _send(self, notice: Notice) -> str | None:
        """None when it was taken, else why not."""
        body = msgspec.json.encode({"text": notice.text, **msgspec.to_builtins(notice)})
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._sleep(min(FIRST_DELAY * 4 ** (attempt - 1), LONGEST_DELAY))
            try:
                status = await self._post(self._url, self._signed(body), body)
            except AccelerateError as error:
                why = type(error).__name__  # its message may hold the URL
                if not getattr(error, "retryable", False):
                    return why
                continue
            except Exception as error:
                return type(error).__name__
            if 200 <= status < 300:
                return None
            why = f"HTTP status {status}"
            if status < 500 and status not in _AGAIN:
                return why
        return f"{why}, after {ATTEMPTS} attempts"

    def _signed(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", **self._headers}
        if self._secret:
            stamp = str(int(self._wall()))
            mac = hmac.new(self._secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers[TIMESTAMP], headers[SIGNATURE] = stamp, f"v1={mac}"
        return headers
