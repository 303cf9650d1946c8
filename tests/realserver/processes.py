"""Run a server as a process of its own: started, waited for, and stopped by its process id."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

#: Our own command, as installing the package puts it beside the interpreter.
PROGRAM = str(Path(sys.executable).with_name("ipfs-accelerate"))

_STOP_SECONDS = 10.0


class ServerProcess:
    """One server process; what it writes goes to a file, which failures quote."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[str], str | None], seconds: float) -> str:
        """Poll ``ready`` with what the server wrote so far until it answers a URL; returns it.

        Raises ``RuntimeError`` with the server's last words when it ends, or is not ready within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self._process.poll()
            if ended is not None:
                raise RuntimeError(f"the server ended with exit code {ended}:\n{self.output[-4000:]}")
            url = ready(self.output)
            if url is not None:
                return url
            time.sleep(0.05)
        raise RuntimeError(f"the server was not ready after {seconds:.0f} s:\n{self.output[-4000:]}")

    def stop(self) -> int:
        """Ask it to end, make it end if it does not, and return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    ready: Callable[[str], str | None],
    seconds: float,
) -> Iterator[str]:
    """The base URL of the server that ``command`` starts, for as long as the context lasts."""
    process = ServerProcess(command, log, env)
    try:
        yield process.wait_until(ready, seconds)
    finally:
        process.stop()


def healthy(url: str) -> bool:
    """Whether ``url`` answers 200 now."""
    # Without the proxies of the environment: the address is this machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
