"""What metrics say of models in this machine: memory, loads, batches, queues. Made when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.gateway.families import counter, gauge

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from ipfs_accelerate_py.gateway.table import ModelTable

__all__ = ["models"]

#: What heads count, by the names that they give it: of forward passes, and of writing token by token.
_BATCHES = ("batches", "steps")
_WAITING = ("waiting",)


def models(table: ModelTable) -> Iterator[Metric]:
    """Of every manager, once; names of models are those of files here, never a client's own words."""
    budget = gauge("local_memory_budget_bytes", "Memory that all models of this machine may take.")
    used = gauge("local_memory_bytes", "Memory that models take now.")
    loads = counter("local_model_loads", "Models that were loaded.", "")
    unloads = counter("local_model_unloads", "Models that were unloaded.", "")
    size = gauge("local_model_bytes", "Memory of a model that is loaded.", "model runtime device precision")
    leases = gauge("local_model_leases", "Calls that hold the model.", "model")
    crashes = counter("local_model_crashes", "Ends of the model's process that nobody asked for.", "model")
    batches = counter("local_batches", "Forward passes, and steps of writing.", "model head")
    tokens = counter("local_tokens", "Tokens that went through the model, without padding.", "model head")
    waiting = gauge("local_queue_items", "Inputs that wait for a batch.", "model head")
    for snapshot in _managers(table):
        budget.add_metric((), snapshot["budget"])
        used.add_metric((), snapshot["memory"])
        loads.add_metric((), snapshot.get("loads", 0))
        unloads.add_metric((), snapshot.get("unloads", 0))
        for model in snapshot["models"]:
            name = model["name"]
            size.add_metric((name, model["runtime"], model["device"], model["precision"]), model["memory"])
            leases.add_metric((name,), model["leases"])
            for key, head in model["heads"].items():
                if key == "worker":
                    crashes.add_metric((name,), head.get("crashes", 0))
                    continue
                batches.add_metric((name, str(key)), _first(head, *_BATCHES))
                tokens.add_metric((name, str(key)), _first(head, "tokens"))
                queue = head.get("queue")
                depth = queue.get("items", 0) if isinstance(queue, Mapping) else _first(head, *_WAITING)
                waiting.add_metric((name, str(key)), depth)
    yield from (budget, used, loads, unloads, size, leases, crashes, batches, tokens, waiting)


def _managers(table: ModelTable) -> list[dict[str, Any]]:
    """Snapshots of managers: backends that are told the same share one."""
    found: dict[int, dict[str, Any]] = {}
    for local in table.local_backends():
        if local.loaded:
            found.setdefault(id(local.manager), local.manager.snapshot())
    # Managers with other budgets are rare, and their sums would say nothing: the first has the totals.
    for other in (managers := list(found.values()))[1:]:
        managers[0]["memory"] += other["memory"]
        managers[0]["models"] += other["models"]
    return managers[:1]


def _first(head: Mapping[str, Any], *names: str) -> float:
    return next((float(head[name]) for name in names if name in head), 0.0)
