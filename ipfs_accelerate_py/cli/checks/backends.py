"""Round trips for every operation of a backend, against its simulator or the real service."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.backends import backend_names, configured, find_backend
from ipfs_accelerate_py.cli.checks.models import SIMULATORS, default_model
from ipfs_accelerate_py.cli.checks.probes import PROBES, Probe, Wrong
from ipfs_accelerate_py.cli.failures import summary
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, UnsupportedOperation

__all__ = ["Result", "check_backends", "checked_names"]

#: Seconds for one probe of a real service.
LIVE_TIMEOUT = 60.0


@dataclass(frozen=True)
class Result:
    """How one probe ended: ``ok``, ``failed``, ``unsupported`` (the service has no such thing) or ``skipped``."""

    backend: str
    operation: str
    status: str
    seconds: float
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "operation": self.operation,
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "detail": self.detail,
        }


def checked_names(only: Collection[str], skip: Collection[str]) -> list[str]:
    """The backends to check, by their own names. Raises `UnknownBackend`."""
    wanted = {find_backend(name).name for name in only} or set(backend_names())
    return sorted(wanted - {find_backend(name).name for name in skip})


async def check_backends(
    names: list[str], *, model: str | None, live: bool, told: Callable[[Result], None]
) -> list[Result]:
    """Every probe on every backend, one after the other; ``told`` hears of each result as it comes."""
    results: list[Result] = []

    def done(result: Result) -> None:
        results.append(result)
        told(result)

    for name in names:
        reason = _why_not(name, live)
        if reason:
            done(Result(name, "-", "skipped", 0.0, reason))
            continue
        async with _client(name, live) as client:
            listed = await _listed(client) if live and model is None else []
            operations = _operations(client)
            for probe in PROBES:
                if operations is None or probe.operation in operations:
                    chosen = model or default_model(name, probe.kind, listed, live=live)
                    done(await _probe(client, probe, chosen))
    return results


def _why_not(name: str, live: bool) -> str:
    spec = find_backend(name)
    if spec.in_process:
        return "it runs in this process: `ipfs-accelerate check hardware`"
    if live:
        if name in {each.name for each in configured()}:
            return ""
        return f"no key or address: set {' or '.join(spec.key_env or spec.url_env)}"
    return "" if name in SIMULATORS else "there is no simulator of it; --live asks a real one"


@contextlib.asynccontextmanager
async def _client(name: str, live: bool) -> AsyncIterator[AsyncClient]:
    if live:
        async with AsyncClient(name, max_retries=1, total_timeout=LIVE_TIMEOUT) as client:
            yield client
        return
    from ipfs_accelerate_py.simulator import Simulator

    async with (
        Simulator(SIMULATORS[name], api_keys={"check": "simulated-key"}, dimensions=8) as simulator,
        AsyncClient(name, base_url=simulator.url, api_key="simulated-key", max_retries=0) as client,
    ):
        yield client


def _operations(client: AsyncClient) -> Collection[Any] | None:
    """What the backend's dialect can say; None where only asking tells."""
    http = client._backend.http
    return None if http is None else http.dialect.operations


async def _listed(client: AsyncClient) -> list[str]:
    try:
        return [model.id for model in await client.models()]
    except AccelerateError:
        return []


async def _probe(client: AsyncClient, probe: Probe, model: str) -> Result:
    began = time.monotonic()
    try:
        status, detail = "ok", await probe.run(client, model)
    except UnsupportedOperation as error:
        status, detail = "unsupported", error.message
    except Wrong as wrong:
        status, detail = "failed", str(wrong)
    except ConfigurationError as error:
        status, detail = "failed", error.message
    except AccelerateError as error:
        status, detail = "failed", f"{type(error).__name__}: {summary(error)}"
    return Result(client.backend, probe.name, status, time.monotonic() - began, detail)
