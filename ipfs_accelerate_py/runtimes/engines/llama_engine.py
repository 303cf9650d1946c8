"""llama.cpp: models that write, from GGUF files, or from checkpoints that are written as GGUF first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.gguf import read_gguf, write_gguf
from ipfs_accelerate_py.runtimes.gguf.writing import QUANTISATIONS, cannot_write

from .artifacts import Artifacts, file_digest
from .base import LoadPlan, Source
from .fingerprint import content_key
from .llama_loss import measure_gguf
from .llama_network import LlamaNetwork
from .loading import load_model
from .loss import Loss

__all__ = ["LlamaEngine", "gguf_of"]

_QUANTISED = ("int8", "int8-weights", "int4")


class LlamaEngine:
    """See `Engine`. Options of the plan: ``parallel`` (answers written at once, 8), ``context`` (positions of all of
    them together; by default what the model was trained for, for each, up to 32,768 in all), ``gpu_layers``."""

    name = "llvm"

    def refuses(self, source: Source, task: TaskSpec, plan: LoadPlan) -> str | None:
        if task.name != "text-generation":
            return f"llama.cpp writes text here, and does no {task.name}"
        if plan.device not in ("auto", "cpu"):
            return f"llama.cpp runs on the processor here, not on {plan.device}"
        if source.path.is_file():
            if plan.precision != "auto":
                return f"a GGUF file has its precision in it, and is not made {plan.precision}"
            return None
        if plan.precision not in ("auto", *QUANTISATIONS):
            return f"llama.cpp has no {plan.precision}"
        return cannot_write(source.config)

    def load(self, source: Source, task: TaskSpec, plan: LoadPlan) -> LlamaNetwork:
        if (reason := self.refuses(source, task, plan)) is not None:
            raise RuntimeUnavailable(f"model {source.name!r} cannot be loaded: {reason}")
        require("xllamacpp")
        if source.path.is_file():
            precision = "as the file has it"
            return LlamaNetwork(source.path, read_gguf(source.path), name=source.name, precision=precision, plan=plan)
        # Without a wish for less, nothing is lost: weights as the checkpoint has them, in 16 bits.
        precision = "float16" if plan.precision == "auto" else plan.precision
        with gguf_of(source, precision, plan) as (path, loss):
            if loss is not None and not plan.force and (reason := loss.too_much()) is not None:
                raise RuntimeUnavailable(
                    f"model {source.name!r} is not served in {precision}: {reason}; force=True serves it all the same"
                )
            network = LlamaNetwork(path, read_gguf(path), name=source.name, precision=precision, plan=plan)
        network.loss = loss
        return network


@contextlib.contextmanager
def gguf_of(source: Source, precision: str, plan: LoadPlan) -> Iterator[tuple[Path, Loss | None]]:
    """The checkpoint as a GGUF file, written once."""
    gguf = require("gguf")
    version = str(getattr(gguf, "__version__", "")) or _version("gguf")
    key = content_key(
        source, engine="llama.cpp", precision=precision, gguf=version, texts=_text_files(source.path), format=1
    )

    def build(folder: Path) -> Mapping[str, Any]:
        whole = replace(source, auto="AutoModelForCausalLM")
        model = load_model(whole, "float32", trust_remote_code=plan.trust_remote_code)
        weights = model.state_dict()
        write_gguf(
            folder / "model.gguf",
            folder=source.path,
            config=source.config,
            weights=weights,
            precision=precision,
            template=_template(source.path),
        )
        loss = measure_gguf(model, precision) if precision in _QUANTISED else None
        return {"loss": None if loss is None else loss.plain()}

    with Artifacts("gguf").entry(key, build) as entry:
        said = entry.facts.get("loss")
        yield entry.folder / "model.gguf", None if said is None else Loss(**said)


def _text_files(folder: Path) -> dict[str, str]:
    """Digests of what the vocabulary and the chat template are read from: they are in the file too."""
    names = [folder / each for each in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")]
    found = [*names, *sorted((folder / "additional_chat_templates").glob("*"))]
    return {each.name: file_digest(each) for each in found if each.is_file()}


def _template(folder: Path) -> str | None:
    transformers = require("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception:  # without one it has no template either; what else that means, the vocabulary's reader says
        return None
    template = getattr(tokenizer, "chat_template", None)
    return template if isinstance(template, str) else None


def _version(distribution: str) -> str:
    from importlib.metadata import version

    return version(distribution)
