"""What a batch job needs of the client that it belongs to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ipfs_accelerate_py.pipeline.usage import UsagePolicy
from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.types import Call, Cost, Operation, Priority, Reply, Request

__all__ = ["Host", "account"]


class Host(Protocol):
    """A client or a router."""

    def send(self, call: Call) -> Awaitable[Reply]: ...

    def _call(
        self,
        operation: Operation,
        options: dict[str, Any],
        request: Callable[[dict[str, Any]], Request],
        *,
        stream: bool = False,
    ) -> Call: ...


def account(host: Host, call: Call, reply: Reply | None, error: Exception | None, started: float, backend: str) -> None:
    """Tell of a request that a provider has answered in a batch, as if it had been a call: once for each.

    Its usage is of the tier "batch", which providers charge half for; where the prices know no such tier, half of the
    usual price it is.
    """
    usage_policy: UsagePolicy | None = getattr(host, "usage_policy", None)
    if usage_policy is None:
        return
    totals = usage_policy.totals
    totals.requests += 1
    model = totals.model(call.model)
    model.requests += 1
    record = CallRecord(
        request_id=call.request_id,
        started=started,
        operation=call.operation,
        alias=call.model,
        backend=backend,
        model=call.model,
        tenant=call.tenant,
        priority=Priority.LOW,
        tags=call.tags,
    )
    if reply is not None:
        totals.successes += 1
        reply.usage.tier = reply.usage.tier or "batch"
        reply.cost = _cost(usage_policy, reply, call.model)
        model.add(reply.usage)
        record.usage = reply.usage
        record.cost = reply.cost
        record.upstream_request_id = reply.upstream_request_id or ""
    else:
        totals.failures += 1
        model.failures += 1
        kind = type(error).__name__
        totals.errors[kind] = totals.errors.get(kind, 0) + 1
        record.outcome, record.error, record.status = "failure", kind, getattr(error, "status", None)
    for observer in usage_policy.observers:
        observer(record)


def _cost(policy: UsagePolicy, reply: Reply, model: str) -> Cost | None:
    pricer = policy.pricer
    if pricer is None:
        return None
    found = pricer.cost(reply.backend, model, reply.usage)
    if found is None or reply.usage.tier != "batch":
        return found
    reply.usage.tier = ""
    usual = pricer.cost(reply.backend, model, reply.usage)
    reply.usage.tier = "batch"
    if usual is None or usual.total != found.total:
        return found
    halves = {name: part / 2 for name, part in found.parts.items()}
    return Cost(found.total / 2, halves, f"{found.source}, half for a batch")
