"""Where workers come from: this process's side of the zygote."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable

from .channel import guard

__all__ = ["Child", "Nursery"]

# Threads that wait for one another must not burn the processors that others need; see docs/serving.md.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "KMP_BLOCKTIME": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    # numpy's own threads start when it is imported, and the zygote must have none.
    "OPENBLAS_NUM_THREADS": "1",
    # Where memory has run out, the account of a panic in a Rust library asks for more, and waits for itself for ever.
    "RUST_BACKTRACE": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


class Child:
    """A worker process. ``ended`` holds its status, as ``os.waitpid`` has it, or -1 where nobody saw its end;
    ``capped`` says that it was ended for standing at the limit of its memory."""

    def __init__(self, pid: int, kill: Callable[[int], None]) -> None:
        self.pid = pid
        self.ended: Future[int] = Future()
        self.capped = False
        self._kill = kill

    def kill(self) -> None:
        """End it now. By the zygote, which alone knows that the number is still the child's."""
        if not self.ended.done():
            self._kill(self.pid)


class Nursery:
    """Starts workers; the zygote is started when the first is wanted. Thread-safe.

    Args:
        environment: variables for the zygote and all workers, beside those of this process.
        imports: what the zygote has imported, where it is installed, before it forks.
        python: the interpreter.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        imports: Sequence[str] = ("torch", "transformers", "numpy"),
        python: str = sys.executable,
    ) -> None:
        self._environment = dict(environment or {})
        self._imports = tuple(imports)
        self._python = python
        self._reset()

    def _reset(self) -> None:
        self._generation = forks.generation()
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._numbers = itertools.count()
        self._births: dict[int, Future[Child]] = {}
        self._children: dict[int, Child] = {}
        self._ready: Future[None] = Future()

    def start(self) -> None:
        """Begin to start the zygote, so that the first worker need not wait for all of it."""
        self._check()
        with self._lock:
            self._ensure()

    def bear(self, *, memory: int = 0) -> tuple[socket.socket, Child]:
        """A new worker: our end of its socket, and the process. Blocks; the first takes seconds.

        Args:
            memory: most bytes of private memory that it may have; 0 is no limit.

        Raises:
            RuntimeUnavailable: no process can be started, or there are none to be had on this system.
        """
        self._check()
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                self._ensure()
                control, ready = self._control, self._ready
            assert control is not None
            ready.result()
            born: Future[Child] = Future()
            with self._lock:
                if control is not self._control:
                    raise RuntimeUnavailable("the process that model workers come from has ended")
                number = next(self._numbers)
                self._births[number] = born
                socket.send_fds(control, [f"fork {number} {memory}".encode()], [theirs.fileno()])
            child = born.result()
        except OSError as exc:
            ours.close()
            raise RuntimeUnavailable(f"no process for a model can be started: {exc}") from exc
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours, child

    @property
    def pid(self) -> int | None:
        """Of the zygote, where it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def children(self) -> list[int]:
        """Process ids of the workers that there are."""
        with self._lock:
            return list(self._children)

    def close(self) -> None:
        """End the zygote and all its children."""
        if self._generation != forks.generation():
            return
        with self._lock:
            control, process, reader = self._control, self._process, self._reader
            self._control = None
        if control is not None:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)
        if reader is not None and reader is not threading.current_thread():
            reader.join()
        if process is not None:
            process.wait()

    def _check(self) -> None:
        if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
            raise ConfigurationError('models in processes of their own need a Unix system: set isolation to "thread"')
        if self._generation != forks.generation():
            self._reset()  # the zygote is our parent's

    def _ensure(self) -> None:
        if self._control is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    self._python,
                    "-m",
                    "ipfs_accelerate_py.runtimes.serving.zygote",
                    str(theirs.fileno()),
                    *self._imports,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # What libraries print must not get into this program's output.
                stdout=sys.stderr.fileno() if _has_stderr() else subprocess.DEVNULL,
                env={**os.environ, **ENVIRONMENT, **self._environment},
                start_new_session=False,
            )
        self._control = guard(ours)
        self._ready = Future()
        self._reader = threading.Thread(
            target=self._read, args=(ours, self._process, self._ready), name="nursery", daemon=True
        )
        self._reader.start()

    def _read(self, control: socket.socket, process: subprocess.Popen[bytes], ready: Future[None]) -> None:
        with contextlib.suppress(OSError):
            while message := control.recv(4096):
                word, *numbers = message.decode().split()
                if word == "ready":
                    ready.set_result(None)
                elif word == "forked":
                    self._forked(*map(int, numbers))
                elif word == "ended":
                    self._ended(*map(int, numbers))
        with self._lock:
            if self._control is control:
                self._control = None
            births, self._births = self._births, {}
            children, self._children = self._children, {}
            control.close()
        gone = RuntimeUnavailable("the process that model workers come from has ended")
        for born in births.values():
            born.set_exception(gone)
        for child in children.values():
            child.ended.set_result(-1)
        if not ready.done():
            ready.set_exception(gone)
        process.wait()

    def _forked(self, number: int, pid: int) -> None:
        with self._lock:
            born = self._births.pop(number)
            child = self._children[pid] = Child(pid, self._kill)
        if pid:
            born.set_result(child)
        else:
            born.set_exception(RuntimeUnavailable("no process for a model can be started: there are too many"))

    def _ended(self, pid: int, status: int) -> None:
        with self._lock:
            child = self._children.pop(pid, None)
        if child is not None:
            child.ended.set_result(status)

    def _kill(self, pid: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._control is not None:
                self._control.send(f"kill {pid}".encode())


def _has_stderr() -> bool:
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True
