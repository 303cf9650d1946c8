"""``auto``: which runtime is fastest for a model on this machine, tried once and remembered.

Each candidate is loaded and given the same few batches; what it answers is compared with PyTorch's float32, and the
fastest of those that agree is taken. What was chosen, and every figure, is kept with the caches, by the content of the
checkpoint and by what this machine is, so that the next load asks nobody.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec

from .artifacts import cache_root, write_whole
from .base import Engine, LoadPlan, Network, Source
from .fingerprint import content_key
from .loss import measure
from .machine import describe_machine

__all__ = ["Trial", "choose_by_trial"]

logger = logging.getLogger(__name__)

#: A candidate whose answers differ from PyTorch's float32 by more than this cosine is not taken.
LEAST_COSINE = 0.999
#: Timed runs of a candidate, of which the middle one counts; and seconds after which no further run is begun.
RUNS, SECONDS = 5, 2.0

Batches = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one candidate: median ``seconds`` for all batches, ``cosine`` with PyTorch in float32 (the worst
    row's), or the ``reason`` why it was not timed."""

    runtime: str
    seconds: float = 0.0
    cosine: float = 0.0
    reason: str = ""


def choose_by_trial(
    source: Source,
    task: TaskSpec,
    plan: LoadPlan,
    candidates: Sequence[Engine],
    samples: Callable[[Network], Batches],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[str, list[Trial]]:
    """Name of the runtime to take, and what the trial found (also where it is remembered).

    Args:
        candidates: the first is PyTorch's engine, whose float32 answers are the reference.
        samples: batches to try with, by names that the network takes.
    """
    key = _key(source, task, plan, candidates)
    remembered = _recall(key)
    if remembered is not None:
        return remembered
    trials = [*_try_all(source, task, plan, candidates, samples, clock)]
    able = [each for each in trials if not each.reason]
    if not able:
        raise RuntimeUnavailable(
            f"model {source.name!r} runs on none of the runtimes here: "
            + "; ".join(f"{each.runtime}: {each.reason}" for each in trials)
        )
    chosen = min(able, key=lambda each: each.seconds).runtime
    logger.info("model %s: %s is the fastest of %s", source.name, chosen, trials)
    with contextlib.suppress(OSError):
        write_whole(_place(key), json.dumps({"chosen": chosen, "trials": [asdict(each) for each in trials]}, indent=1))
    return chosen, trials


def _try_all(
    source: Source,
    task: TaskSpec,
    plan: LoadPlan,
    candidates: Sequence[Engine],
    samples: Callable[[Network], Batches],
    clock: Callable[[], float],
) -> list[Trial]:
    found: list[Trial] = []
    reference: list[Mapping[str, Any]] | None = None
    batches: Batches | None = None
    for engine in candidates:
        reason = engine.refuses(source, task, replace(plan, runtime=engine.name))
        if reason is not None:
            found.append(Trial(engine.name, reason=reason))
            continue
        try:
            network = engine.load(source, task, replace(plan, runtime=engine.name))
        except AccelerateError as exc:
            found.append(Trial(engine.name, reason=exc.message))
            continue
        try:
            if batches is None:
                batches = samples(network)
            outputs: list[Mapping[str, Any]] = [network.collect(network.launch(batch)) for batch in batches]
            if reference is None:
                reference = outputs
            loss = measure(reference, outputs)
            if loss.least_cosine < LEAST_COSINE:
                found.append(Trial(engine.name, reason=f"its answers differ: cosine {loss.least_cosine:.4f}"))
                continue
            found.append(Trial(engine.name, _time(network, batches, clock), loss.least_cosine))
        except Exception as exc:  # whatever a runtime raises, it is not the one to take
            found.append(Trial(engine.name, reason=f"{type(exc).__name__}: {exc}"[:500]))
        finally:
            network.close()
            del network
            gc.collect()
    return found


def _time(network: Network, batches: Batches, clock: Callable[[], float]) -> float:
    took: list[float] = []
    begun = clock()
    while len(took) < RUNS and (not took or clock() - begun < SECONDS):
        start = clock()
        for batch in batches:
            network.collect(network.launch(batch))
        took.append(clock() - start)
    return sorted(took)[len(took) // 2]


# --- memory ------------------------------------------------------------------------------------------------------


def _key(source: Source, task: TaskSpec, plan: LoadPlan, candidates: Sequence[Engine]) -> str:
    said = {
        "task": task.name,
        "device": plan.device,
        "precision": plan.precision,
        "threads": plan.threads,
        "options": dict(plan.options),
        "candidates": [each.name for each in candidates],
        "machine": describe_machine(),
    }
    return hashlib.sha256((content_key(source) + json.dumps(said, sort_keys=True, default=str)).encode()).hexdigest()


def _place(key: str) -> Any:
    return cache_root() / "choices" / f"{key}.json"


def _recall(key: str) -> tuple[str, list[Trial]] | None:
    try:
        said = json.loads(_place(key).read_text(encoding="utf-8"))
        return str(said["chosen"]), [Trial(**each) for each in said["trials"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def installed(runtime: str) -> bool:
    """Whether what a runtime needs is installed; not whether it works."""
    needs = {"torch": ("torch",), "openvino": ("openvino",), "llvm": ("iree.runtime", "iree.compiler")}[runtime]
    try:
        return all(find_spec(each) is not None for each in needs)
    except ModuleNotFoundError:
        return False
