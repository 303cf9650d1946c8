"""Checkpoints, GGUF files and one cache for all tests of this runtime, so that each is made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.families.tasks import TASKS

from .models import Make, source, write


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("llvm-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPFS_ACCELERATE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Make:
    """``checkpoint("llama", template=..., ...)``: its folder."""
    made: dict[str, Path] = {}

    def make(kind: str, **changes: object) -> Path:
        key = repr((kind, sorted(changes.items(), key=str)))
        if key not in made:
            made[key] = write(kind, tmp_path_factory.mktemp(kind), **changes)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory, checkpoint: Make) -> Path:
    """A whole GGUF file: the tiny Llama's."""
    pytest.importorskip("gguf")
    import transformers

    from ipfs_accelerate_py.runtimes.gguf import write_gguf

    from .models import TEMPLATE

    folder = checkpoint("llama")
    found = source(folder)
    path = tmp_path_factory.mktemp("gguf") / "tiny-llama.gguf"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    weights = model.state_dict()
    write_gguf(path, folder=folder, config=found.config, weights=weights, precision="float32", template=TEMPLATE)
    return path


PLAN = LoadPlan(runtime="llvm", precision="float32", threads=1)
TASK = TASKS["text-generation"]
