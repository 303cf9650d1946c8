"""A page in a headless Chromium, driven by its own protocol through a pair of pipes.

https://chromedevtools.github.io/devtools-protocol/; with ``--remote-debugging-pipe`` messages are JSON that a zero byte
ends, read from file descriptor 3 and written to 4. So there is no port, no other program and no library.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Page", "browser", "contrast", "find_chromium"]

#: Seconds that nothing here should come near.
LONG = 120.0
_NAMES = ("chromium", "chromium-headless-shell", "google-chrome", "chromium-browser")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-extensions", "--disable-sync", "--no-first-run", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """The program: this machine's own, or the one that tools/chromium.sh has fetched."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser(program: str) -> Iterator[_Pipe]:
    """A browser; it ends with the block."""
    to_it, from_us = os.pipe()
    to_us, from_it = os.pipe()

    def place() -> None:
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (to_it, from_it)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_OPTIONS, f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,  # Python's own are not inherited
            preexec_fn=place,
        )
        os.close(to_it)
        os.close(from_it)
        pipe = _Pipe(to_us, from_us)
        try:
            yield pipe
        finally:
            pipe.send("Browser.close")
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(to_us)
            os.close(from_us)


class _Pipe:
    """Messages to and from a browser; answers by their number, events in a list."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str = "", **parameters: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._number

    def ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        number = self.send(method, session, **parameters)
        while True:
            found = self._next()
            if found.get("id") == number:
                assert "error" not in found, (method, found["error"])
                result: dict[str, Any] = found["result"]
                return result
            self.events.append(found)

    def until(self, method: str, session: str) -> None:
        """Wait for an event."""
        while not any(each.get("method") == method and each.get("sessionId") == session for each in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + LONG
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0], "the browser is silent"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


class Page:
    """A page of a certain size, as a user sees it."""

    def __init__(self, pipe: _Pipe, address: str, width: int = 1280, height: int = 900, *, phone: bool = False) -> None:
        self._pipe = pipe
        self._target = pipe.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = pipe.ask("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        if phone:
            self._ask("Emulation.setTouchEmulationEnabled", enabled=True)
        self._ask("Page.navigate", url=address)
        pipe.until("Page.loadEventFired", self._session)

    def close(self) -> None:
        """Close it: an open one goes on taking part of the processor."""
        self._pipe.ask("Target.closeTarget", targetId=self._target)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._pipe.ask(method, self._session, **parameters)

    def _said(self, method: str) -> list[dict[str, Any]]:
        events = [each for each in self._pipe.events if each.get("sessionId") == self._session]
        return [each["params"] for each in events if each.get("method") == method]

    @property
    def complaints(self) -> list[str]:
        """What the console shows: errors and warnings of scripts, of the page's policy, of loading."""
        self.run("0")  # what was said until now has arrived when this is answered
        found = [str(each["exceptionDetails"]) for each in self._said("Runtime.exceptionThrown")]
        found += [str(each["args"]) for each in self._said("Runtime.consoleAPICalled")]
        return found + [each["entry"]["text"] for each in self._said("Log.entryAdded")]

    @property
    def requests(self) -> list[str]:
        """Addresses that were asked for."""
        return [each["request"]["url"] for each in self._said("Network.requestWillBeSent")]

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Press the mouse where the middle of an element is, after scrolling there."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Type into a field in place of what it holds."""
        self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select(); }})()")
        self._ask("Input.insertText", text=text)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, as ``Enter``, with its code for Windows."""
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self._ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra)

    def choose(self, selector: str, value: str) -> None:
        """Choose of a list: what a browser does after its own menu has closed."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def dark(self) -> None:
        """Have the user prefer dark pages."""
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def picture(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio of two colours, as ``rgb(r, g, b)``."""

    def light(colour: str) -> float:
        parts = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)
