"""Which runtime ``auto`` takes: tried with a clock of ours, and once for real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines import choosing, trials
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.families.tasks import find_task

np = pytest.importorskip("numpy")

found = find_task("text-classification")
assert found is not None
TASK = found
BATCHES = [{"input_ids": np.array([[1, 2, 3]])}, {"input_ids": np.array([[4, 5]])}]


class Network:
    """Takes so many seconds of the clock for a batch."""

    device, precision, memory, inputs = "cpu", "float32", 1, None

    def __init__(self, engine: Engine) -> None:
        self.engine = engine.name
        self._of = engine

    def launch(self, batch: Mapping[str, Any]) -> Any:
        self._of.now[0] += self._of.seconds
        if self._of.fails:
            raise ValueError("a kernel is missing")
        return batch["input_ids"]

    def collect(self, launched: Any) -> dict[str, Any]:
        row = np.array([[float(launched.sum()), 1.0 + self._of.off * launched.sum()]], np.float32)
        return {"logits": row}

    def close(self) -> None:
        self._of.closed += 1


class Engine:
    def __init__(self, name: str, now: list[float], seconds: float, **kind: Any) -> None:
        self.name, self.now, self.seconds = name, now, seconds
        self.off: float = kind.get("off", 0.0)
        self.fails: bool = kind.get("fails", False)
        self.refused: str | None = kind.get("refused")
        self.unloadable: bool = kind.get("unloadable", False)
        self.loads = self.closed = 0

    def refuses(self, source: Any, task: Any, plan: Any) -> str | None:
        return self.refused

    def load(self, source: Any, task: Any, plan: LoadPlan) -> Network:
        assert plan.runtime == self.name
        self.loads += 1
        if self.unloadable:
            raise RuntimeUnavailable("it cannot be exported")
        return Network(self)


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return Source("tiny", tmp_path, config={"model_type": "bert"}, auto="AutoModel")


def choose(source: Source, engines: list[Engine], plan: LoadPlan | None = None) -> tuple[str, list[trials.Trial]]:
    clock: Callable[[], float] = lambda: engines[0].now[0]  # noqa: E731
    return trials.choose_by_trial(source, TASK, plan or LoadPlan(), cast(Any, engines), lambda network: BATCHES, clock)


def test_the_fastest_that_agrees_is_taken(source: Source, now: list[float]) -> None:
    engines = [Engine("torch", now, 0.3), Engine("openvino", now, 0.1), Engine("llvm", now, 0.01, off=1.0)]
    chosen, tried = choose(source, engines)
    assert chosen == "openvino"
    by_name = {each.runtime: each for each in tried}
    assert by_name["torch"].seconds == pytest.approx(0.6)
    assert by_name["openvino"].seconds == pytest.approx(0.2)
    assert by_name["openvino"].cosine == pytest.approx(1.0)
    assert "differ" in by_name["llvm"].reason
    assert "cosine" in by_name["llvm"].reason
    assert [each.closed for each in engines] == [1, 1, 1]


def test_whoever_cannot_is_passed_over_with_the_reason(source: Source, now: list[float]) -> None:
    engines = [
        Engine("torch", now, 0.3), Engine("openvino", now, 0.0, unloadable=True),
        Engine("llvm", now, 0.0, refused="no such layer"), Engine("other", now, 0.0, fails=True),
    ]  # fmt: skip
    chosen, tried = choose(source, engines)
    assert chosen == "torch"
    assert [each.reason for each in tried] == [
        "", "it cannot be exported", "no such layer", "ValueError: a kernel is missing",
    ]  # fmt: skip
    assert [each.closed for each in engines] == [1, 0, 0, 1]


def test_nobody_can(source: Source, now: list[float]) -> None:
    engines = [Engine("torch", now, 0.3, fails=True), Engine("openvino", now, 0.0, refused="not this type")]
    with pytest.raises(RuntimeUnavailable, match=r"torch: ValueError.*openvino: not this type"):
        choose(source, engines)


def test_it_is_remembered_by_content_and_machine(
    source: Source, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = [Engine("torch", now, 0.3), Engine("openvino", now, 0.1)]
    first = choose(source, engines)
    assert choose(source, engines) == first
    copy = Source("another name", source.path, source.config, source.auto)
    assert choose(copy, engines) == first
    assert [each.loads for each in engines] == [1, 1]

    choose(source, engines, LoadPlan(threads=1))
    assert engines[0].loads == 2
    monkeypatch.setattr(trials, "describe_machine", lambda: {"processor": "another"})
    choose(source, engines)
    assert engines[0].loads == 3
    (source.path / "model.safetensors").write_bytes(b"other weights")
    choose(source, engines)
    assert engines[0].loads == 4


def test_what_is_remembered_wrongly_is_tried_again(source: Source, now: list[float], cache: Path) -> None:
    engines = [Engine("torch", now, 0.1)]
    choose(source, engines)
    (kept,) = (cache / "choices").glob("*.json")
    kept.write_text('{"chosen": 3')
    assert choose(source, engines)[0] == "torch"
    assert engines[0].loads == 2


def test_a_slow_model_is_timed_once(source: Source, now: list[float]) -> None:
    engines = [Engine("torch", now, 10.0)]
    choose(source, engines)
    assert now[0] == pytest.approx(40.0)  # two batches for the answers, two for the time


def test_for_real(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("openvino") is None:  # importing it here would tell its makers of it: see `extras.require`
        pytest.skip("the [openvino] extra is not installed")
    from ipfs_accelerate_py.runtimes.families.catalog import open_source
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    folder = tmp_path_factory.mktemp("trial")
    write_tiny("bert", folder, auto="AutoModelForSequenceClassification")
    model, task = open_source("tiny", folder, "text-classification")
    monkeypatch.setattr(choosing, "installed", lambda runtime: runtime in ("torch", "openvino"))
    plan = LoadPlan(precision="float32", options={"trial": True})
    network = choosing.load_network(model, task, plan)
    chosen, tried = trials.choose_by_trial(
        model, task, plan, choosing._candidates(), lambda network: pytest.fail("it is remembered")
    )
    assert network.engine == chosen
    assert [(each.runtime, each.reason) for each in tried] == [("torch", ""), ("openvino", "")]
    assert all(each.seconds > 0 and each.cosine > 0.999 for each in tried)
    network.close()
