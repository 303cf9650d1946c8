"""Programs that the tests of the sync client start: what forks, what is interrupted, what simply ends.

Run as ``python -m tests.scripts_for_sync NAME URL``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

from ipfs_accelerate_py import Client


def make(url: str, **settings: Any) -> Client:
    return Client("openai", base_url=url, api_key="sk-test", **settings)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")  # one piece: print() writes two, and other threads speak as well
    sys.stdout.flush()


def interrupt(client: Client) -> None:
    """Ctrl-C, a little after a call has gone out."""
    while not client.active_requests:
        time.sleep(0.005)
    time.sleep(0.15)
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(url: str) -> None:
    """Ctrl-C while a call waits: it is cancelled, and the client goes on working."""
    client = make(url)
    threading.Thread(target=interrupt, args=(client,)).start()
    try:
        client.chat("hang", "x")
    except KeyboardInterrupt:
        say("interrupted")
    until = time.monotonic() + 20
    while client.active_requests and time.monotonic() < until:
        time.sleep(0.005)
    say(f"active {client.active_requests}")
    say(f"next {bool(client.chat('m', 'x').text)}")


def interrupted_stream(url: str) -> None:
    client = make(url)
    threading.Thread(target=interrupt, args=(client,)).start()
    try:
        for _ in client.stream("silent", "x"):
            pass
    except KeyboardInterrupt:
        say("interrupted")
    until = time.monotonic() + 20
    while client.active_requests and time.monotonic() < until:
        time.sleep(0.005)
    say(f"active {client.active_requests}")


def forked(url: str) -> None:
    """A child of a process with a portal, an idle connection, a call under way and a queue."""
    client = make(url, max_concurrent_requests=2)
    client.chat("m", "x")
    slow = [threading.Thread(target=lambda: say(f"slow {bool(client.chat('slow', 'x').text)}")) for _ in range(3)]
    for thread in slow:
        thread.start()
    time.sleep(0.05)
    child = os.fork()
    if child == 0:
        try:
            client.max_concurrent_requests = 5
            say(f"child {bool(client.chat('m', 'x').text)}")
            say(f"child streams {len(list(client.stream('m', 'x'))) > 5}")
            client.close()
            say("child done")
        finally:
            sys.stdout.flush()
        sys.exit(0)  # runs the exit handlers that the child inherited
    _, status = os.waitpid(child, 0)
    say(f"status {status}")
    for thread in slow:
        thread.join()
    say(f"parent {bool(client.chat('m', 'x').text)}")
    say(f"active {client.active_requests}")


def forked_threads(url: str) -> None:
    """The child's first calls come from many threads at once."""
    client = make(url, max_concurrent_requests=4)
    client.chat("m", "x")
    child = os.fork()
    if child == 0:
        failures: list[BaseException] = []

        def call() -> None:
            try:
                client.chat("m", "x")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=call) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(f"child failures {failures}")
        say(f"child requests {client.snapshot()['usage']['total_requests']}")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    say(f"parent {bool(client.chat('m', 'x').text)}")


def forked_stream(url: str) -> None:
    """A stream begun before the fork is the parent's; in the child, reading it must not wait for ever."""
    client = make(url)
    stream = client.stream("paced", "x")
    next(stream)
    child = os.fork()
    if child == 0:
        try:
            for _ in stream:
                pass
            say("child ended")
        except BaseException as error:
            say(f"child {type(error).__name__}")
        sys.stdout.flush()
        os._exit(0)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        say("child hung")
    say(f"parent {len(list(stream)) > 3}")


def leaves_streams_open(url: str) -> None:
    client = make(url, max_concurrent_requests=10)
    streams = [client.stream("silent", "x") for _ in range(3)]
    for stream in streams:
        next(stream)
    streams.append(client.stream("hang", "x"))
    say("leaving")


def leaves_a_thread_waiting(url: str) -> None:
    client = make(url)

    def wait() -> None:
        with contextlib.suppress(Exception):
            client.chat("hang", "x")

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    time.sleep(0.05)
    say("leaving")


def never_called(url: str) -> None:
    make(url)
    say("leaving")


def called_at_exit(url: str) -> None:
    """A call from an exit handler that runs after the portal's own: an error, not a hang."""
    import atexit

    def late(client: Client) -> None:
        try:
            say(f"late {bool(client.chat('m', 'x').text)}")
        except Exception as error:
            say(f"late {type(error).__name__}")

    client = make(url)
    atexit.register(late, client)
    client.chat("m", "x")
    say("leaving")


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
