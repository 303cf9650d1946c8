"""64 threads and 1,000 calls over every backend at once, with faults at random: each call ends once, and typed."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.upstreams import QUICK, nothing_held_sync

from .support import CHAT, EMBED, KEY, MODEL

CALLS = 1000
THREADS = 64
FAULTS = [
    Fault.status(500),
    Fault.status(503),
    Fault.status(429, retry_after_ms=5),
    Fault.status(400),
    Fault.reset(),
    Fault.close(),
    Fault.html(),
    Fault.cut(after=3),
    Fault.error_event(at=2),
    Fault.split(size=7),
]


def test_each_call_has_exactly_one_end() -> None:
    backends = {**CHAT, **EMBED}
    ended: list[str] = []
    lock = threading.Lock()
    with contextlib.ExitStack() as stack:
        clients: dict[str, Client] = {}
        sims: dict[str, SimulatorThread] = {}
        for backend, service in backends.items():
            sim = sims[service] = sims.get(service) or stack.enter_context(
                SimulatorThread(service, api_keys={"key": KEY}, dimensions=4)
            )
            sim.random(0.2, FAULTS, seed=7)
            clients[backend] = stack.enter_context(
                Client(backend, base_url=sim.url, api_key=KEY, **{**QUICK, "max_retries": 2, "queue_size": CALLS})
            )

        def call(number: int) -> None:
            chance = random.Random(number)
            backend = chance.choice(sorted(clients))
            client = clients[backend]
            try:
                if backend not in CHAT:
                    reply = client.embed(MODEL, ["a", "b"])
                    end = "ok" if len(reply.vectors) == 2 else "wrong"
                elif chance.random() < 0.5:
                    streamed = client.stream(MODEL, "Hello", max_tokens=20).collect()
                    end = "ok" if streamed.text and streamed.finish_reason else "wrong"
                else:
                    end = "ok" if client.chat(MODEL, "Hello", max_tokens=20).text else "wrong"
            except AccelerateError as error:
                end = type(error).__name__
            with lock:
                ended.append(end)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(call, range(CALLS)))
        counts = Counter(ended)
        assert len(ended) == CALLS
        assert counts["wrong"] == 0
        assert counts["ok"] > CALLS * 0.7, counts
        assert len(counts) > 3, counts
        for client in clients.values():
            nothing_held_sync(client)
            snapshot = client.snapshot()
            assert snapshot["in_flight"] == snapshot["queue"]["active"] == snapshot["queue"]["queued"] == 0
        totals = [client.snapshot()["usage"] for client in clients.values()]
        assert sum(each["total_requests"] for each in totals) == CALLS
        assert sum(each["successful_requests"] for each in totals) == counts["ok"]
