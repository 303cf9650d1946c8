"""The process that model workers are forked from.

``python -m ipfs_accelerate_py.runtimes.serving.zygote FD MODULE...`` has imported the modules (torch and transformers,
which takes seconds) and has started no thread, so that a forked child is whole. Devices are used in the children only.
It is asked over a socket, and speaks in lines: ``fork ID BYTES`` with the child's end of a socket pair attached,
``kill PID``; it says ``ready``, ``forked ID PID`` and ``ended PID STATUS`` (as ``os.waitpid`` has it). Where the socket
closes, who asked is gone: it kills the children and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence

__all__ = ["Zygote", "die_with_parent", "main"]

_PR_SET_PDEATHSIG = 1

#: What every model needs beside its own code, and Transformers imports late; with them a load takes half the time.
_LATE = (
    "transformers.generation.utils",
    "transformers.masking_utils",
    "transformers.modeling_layers",
    "ipfs_accelerate_py.runtimes.engines.torch_engine",
    "ipfs_accelerate_py.runtimes.families.catalog",
    "ipfs_accelerate_py.runtimes.serving.forward_head",
    "ipfs_accelerate_py.runtimes.serving.writing_head",
)

#: How much rather than others a worker is to be ended where the machine's memory runs out (proc(5), oom_score_adj).
_RATHER = 500


class Zygote:
    """Serves one socket until it closes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: set[int] = set()
        self._wake, self._woken = socket.socketpair()

    def run(self) -> None:
        """Returns in the parent when the socket has closed. A forked child does not return."""
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._say("ready")
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while self._serve(selector):
                pass
        signal.set_wakeup_fd(-1)
        for pid in self._children:
            _kill(pid)

    def _serve(self, selector: selectors.BaseSelector) -> bool:
        for key, _ in selector.select():
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
                self._reap()
                continue
            try:
                message, handles, _, _ = socket.recv_fds(self._control, 4096, 4)
            except ConnectionError:
                return False
            if not message:
                return False
            word, *numbers = message.decode().split()
            if word == "fork":
                self._fork(int(numbers[0]), int(numbers[1]), handles[0])
            elif word == "kill" and int(numbers[0]) in self._children:
                _kill(int(numbers[0]))
        return True

    def _fork(self, number: int, memory: int, handle: int) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(handle)
            self._say(f"forked {number} 0")
            return
        if pid:
            os.close(handle)
            self._children.add(pid)
            self._say(f"forked {number} {pid}")
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._control, self._wake, self._woken):
                end.close()
            die_with_parent(parent)
            _limit(memory)
            from .worker import work

            status = work(socket.socket(fileno=handle))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            # Not by `sys.exit`: what the zygote registered for its own end is none of the child's business.
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for pid in list(self._children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._children.discard(pid)
                self._say(f"ended {pid} {status}")

    def _say(self, words: str) -> None:
        with contextlib.suppress(OSError):
            self._control.send(words.encode())


def die_with_parent(parent: int) -> None:
    """Be killed when the process that forked this one ends, however it ends (prctl(2), PR_SET_PDEATHSIG; Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it has ended in between


def _limit(memory: int) -> None:
    """Let the kernel end this process rather than others, and give it no more than ``memory`` bytes (0: no limit)."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(_RATHER))
    if memory:
        import resource

        # Of private writable memory, which is what counts here: address space is reserved far beyond what is used.
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def main(handle: int, modules: Sequence[str]) -> None:
    """Import what children need, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asked us: it closes the socket
    for module in (*modules, f"{__package__}.worker"):
        with contextlib.suppress(ImportError):  # a child says so, to whoever needs it
            importlib.import_module(module)
    if "transformers" in sys.modules:
        _touch_transformers()
    gc.collect()
    gc.freeze()  # or the collector writes into pages that all children share
    Zygote(socket.socket(fileno=handle)).run()


def _touch_transformers() -> None:
    """Transformers imports its parts when they are first looked at."""
    transformers = importlib.import_module("transformers")
    for name in ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor", "PreTrainedModel"):
        getattr(transformers, name, None)
    for module in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
