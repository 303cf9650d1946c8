"""The command as users run it: a process of its own, in pipes or on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

__all__ = ["COMMAND", "OnTerminal", "on_terminal", "run", "started", "until"]

COMMAND = [sys.executable, "-W", "error", "-m", "ipfs_accelerate_py"]
#: Seconds that nothing here should come near.
LONG = 120.0
_SEQUENCES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])")


def run(
    *arguments: str, input: bytes | None = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end; nothing on stdin unless said."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=input,
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=LONG,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextlib.contextmanager
def started(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run in the background, with pipes; ended by SIGKILL where the test does not end it."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class OnTerminal:
    """A process on a pseudo-terminal, and what it wrote there."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._prompts = 0
        self.raw = ""

    @property
    def text(self) -> str:
        """What was written, without escape sequences."""
        return _SEQUENCES.sub("", self.raw).replace("\r", "")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C sends: the terminal controls nothing here, and cannot."""
        self.process.send_signal(signal.SIGINT)

    def at_prompt(self, text: str) -> None:
        """Type when the next prompt is there: what is typed earlier may be thrown away."""
        self._prompts += 1
        self.wait_for("> ", self._prompts)
        self.type(text)

    def wait_for(self, text: str, count: int = 1) -> None:
        """Read until this stands there so many times."""
        until = time.monotonic() + LONG
        while self.text.count(text) < count:
            assert time.monotonic() < until, f"no {text!r} (x {count}) in {self.text!r}"
            if not self._read(0.5) and self.process.poll() is not None:
                assert self.text.count(text) >= count, f"it ended without {text!r}: {self.text!r}"

    def end(self) -> int:
        """Read to the end, and give the exit code."""
        until = time.monotonic() + LONG
        while self.process.poll() is None:
            assert time.monotonic() < until, f"it does not end: {self.text!r}"
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


@contextlib.contextmanager
def on_terminal(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: bool = True,
    stdout: bool = True,
) -> Iterator[OnTerminal]:
    """Run on a terminal of 100 columns; stdin or stdout are nowhere and a pipe where they are not to be on it."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **(env or {})}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=slave if stdin else subprocess.DEVNULL,
        stdout=slave if stdout else subprocess.PIPE,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    try:
        yield OnTerminal(process, master)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        os.close(master)
