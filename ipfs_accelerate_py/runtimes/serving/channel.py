"""Frames over a stream socket, by threads: whoever sends or waits may be on any event loop, or on none.

A frame is four bytes of length (big-endian) and so many bytes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from ipfs_accelerate_py.errors import InvalidRequest, WorkerLost

__all__ = ["HEADER", "Channel", "guard", "receive_exactly"]

HEADER = struct.Struct(">I")

# More waiting to be sent than this, and who sends waits.
_BACKLOG = 32 << 20


class Channel:
    """One end of a socket.

    Args:
        sock: connected; the channel closes it.
        hear: called with every frame, from the reading thread; what it raises ends the channel.
        lost: called once when the other end is gone, from the reading thread.
        limit: bytes of the largest frame, either way.
        name: what the threads are called after.
    """

    def __init__(
        self,
        sock: socket.socket,
        hear: Callable[[bytes], None],
        lost: Callable[[], None],
        *,
        limit: int,
        name: str = "channel",
    ) -> None:
        self._socket = guard(sock)
        self._hear = hear
        self._lost = lost
        self._limit = limit
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._outgoing: deque[bytes] = deque()
        self._waiting: deque[Future[None]] = deque()
        self._backlog = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=target, name=f"{name}_{step}", daemon=True)
            for step, target in (("reads", self._read), ("writes", self._write))
        ]
        for thread in reversed(self._threads):  # the reader ends the writer
            thread.start()

    def send(self, frame: bytes) -> Future[None] | None:
        """Queue a frame. Where much waits already, a future to await before sending more.

        Raises:
            InvalidRequest: the frame is over the limit; nothing was sent.
            WorkerLost: the channel is closed.
        """
        if len(frame) > self._limit:
            raise InvalidRequest(
                f"a call of {len(frame)} bytes is over the limit of {self._limit} for models in processes of their own",
                status=413,
                param="input",
            )
        with self._lock:
            if self._closed:
                raise WorkerLost("the process of this model has ended")
            self._outgoing.append(frame)
            self._backlog += len(frame)
            self._turn.notify()
            if self._backlog <= _BACKLOG:
                return None
            waiting: Future[None] = Future()
            self._waiting.append(waiting)
            return waiting

    def close(self) -> None:
        """Close the socket and end the threads. May be called again, and from the reading thread."""
        with self._lock:
            self._closed = True
            self._turn.notify()
            waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            _settle(each)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._socket.close()

    def _read(self) -> None:
        try:
            while True:
                (length,) = HEADER.unpack(receive_exactly(self._socket, HEADER.size))
                if length > self._limit:
                    break
                self._hear(receive_exactly(self._socket, length))
        except OSError:
            pass  # the other end is gone
        finally:
            with self._lock:
                self._closed = True
                self._turn.notify()
                waiting, self._waiting = self._waiting, deque()
            for each in waiting:
                _settle(each)
            self._lost()
            self._threads[1].join()
            self._socket.close()

    def _write(self) -> None:
        while True:
            with self._lock:
                while not self._outgoing and not self._closed:
                    self._turn.wait()
                if self._closed:
                    return
                frame = self._outgoing.popleft()
            try:
                self._socket.sendall(HEADER.pack(len(frame)))
                self._socket.sendall(frame)
            except OSError:
                return  # the reading thread hears of it too
            with self._lock:
                self._backlog -= len(frame)
                free = []
                while self._waiting and self._backlog <= _BACKLOG:
                    free.append(self._waiting.popleft())
            for each in free:
                _settle(each)


def _settle(future: Future[None]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(None)


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes. Raises `ConnectionError` where the other end closes before."""
    parts = bytearray(count)
    view, at = memoryview(parts), 0
    while at < count:
        got = sock.recv_into(view[at:])
        if not got:
            raise ConnectionError("closed")
        at += got
    return bytes(parts)


_guarded: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def guard(sock: socket.socket) -> socket.socket:
    """Close it in forked children: a copy there would keep the other end waiting when this process is gone."""
    _guarded.add(sock)
    return sock


def _in_child() -> None:
    for sock in list(_guarded):
        with contextlib.suppress(OSError):
            os.close(sock.detach())
    _guarded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
