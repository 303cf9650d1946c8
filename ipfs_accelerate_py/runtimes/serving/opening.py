"""From a checkpoint and a task to the head that does it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.engines.choosing import load_network
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec, find_task
from ipfs_accelerate_py.runtimes.processing.base import Context
from ipfs_accelerate_py.runtimes.processing.registry import PROCESSING, WRITING
from ipfs_accelerate_py.runtimes.progress import tell

from .base import Head
from .jobs import CONVERSING

__all__ = ["Model", "Wanted"]

#: Tasks whose network a call in OpenAI's words may use, in order.
_CONVERSED = ("text-generation", "image-text-to-text", "text2text-generation")

_EMBEDDING = "sentence-similarity"

# The class of the speech models that write; those of the same task that do not are recognisers by CTC.
_WRITING_SPEECH = ("AutoModelForSpeechSeq2Seq", "AutoModelForMultimodalLM")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a task needs: its full name, and the key of its head."""

    task: str
    key: str
    source: Source
    spec: TaskSpec
    writes: bool


class Model:
    """A checkpoint on this machine, and what its tasks need. Thread-safe."""

    def __init__(self, name: str, path: Path, plan: LoadPlan) -> None:
        self.name = name
        self.path = path
        self.plan = plan
        self.model_type = ""
        self.tasks: list[str] = []
        self._lock = threading.Lock()
        self._known: dict[str, Wanted] = {}

    def known(self, task: str) -> Wanted | None:
        """What the task needs, where that has been found out already; cheap."""
        return self._known.get(task)

    def wanted(self, task: str) -> Wanted:
        """What the task needs. Reads the checkpoint's configuration; slow the first time.

        Raises `UnsupportedOperation` where the model has no such task, `RuntimeUnavailable` where it is unreadable.
        """
        with self._lock:
            if (found := self._known.get(task)) is None:
                found = self._known[task] = self._find(task)
                self._known.setdefault(found.task, found)
            return found

    def load(self, wanted: Wanted) -> Head:
        """The head, without what its tasks need beside the network."""
        tell("loading")
        if wanted.key == _EMBEDDING:
            from .embedding_head import EmbeddingHead

            return EmbeddingHead(self.name, self.path, self.plan)
        network = load_network(wanted.source, wanted.spec, self.plan)
        try:
            config = wanted.source.config
            context = Context(
                path=self.path,
                config=config,
                inputs=network.inputs,
                auto=wanted.source.auto,
                trust_remote_code=self.plan.trust_remote_code,
            )
            if wanted.writes:
                from .writing_head import WritingHead

                return WritingHead(
                    self.name, network, wanted.source, context if config is not None else None, self.plan
                )
            from .forward_head import ForwardHead

            return ForwardHead(self.name, network, context, self.plan)
        except BaseException:
            network.close()
            raise

    def _find(self, task: str) -> Wanted:
        from .embedding_head import embeds

        trust = self.plan.trust_remote_code
        if not task and (self.path / "modules.json").is_file():
            task = _EMBEDDING
        asked = find_task(task) if task not in CONVERSING else None
        if asked is not None and asked.name == _EMBEDDING and embeds(self.path, _EMBEDDING, self.plan):
            # Its transformer may lie in a folder of its own, so the catalog is not asked.
            self._note("sentence-transformers", [_EMBEDDING])
            return Wanted(_EMBEDDING, _EMBEDDING, Source(self.name, self.path), asked, False)
        # Here, because the catalog needs transformers, and an embedding model may do without.
        from ipfs_accelerate_py.runtimes.families.catalog import family_of, open_source

        if task in CONVERSING:
            source, spec = self._open_conversed(open_source, trust)
        else:
            source, spec = open_source(self.name, self.path, task or None, trust_remote_code=trust)
        config: Any = source.config
        try:
            tasks = list(family_of(config).tasks) if config is not None else [spec.name]
        except RuntimeUnavailable:  # a type of the checkpoint's own code
            tasks = [spec.name]
        self._note(getattr(config, "model_type", "") or "gguf", tasks)
        source = self._shared(source, spec)
        writes = task in CONVERSING or (
            spec.name in WRITING and (spec.name not in PROCESSING or source.auto in _WRITING_SPEECH)
        )
        key = f"{source.auto or 'gguf'}{':writing' if writes else ''}"
        return Wanted(task if task in CONVERSING else spec.name, key, source, spec, writes)

    def _shared(self, source: Source, spec: TaskSpec) -> Source:
        """The source by another Auto class that a task uses already, where both make the same: one network less."""
        from ipfs_accelerate_py.runtimes.families.catalog import auto_classes

        classes, kind = auto_classes(), getattr(source.config, "model_type", "")
        made = classes.get(source.auto, {}).get(kind)
        for other in self._known.values():
            if made is not None and classes.get(other.source.auto, {}).get(kind) == made:
                return other.source
        return source

    def _note(self, model_type: str, tasks: list[str]) -> None:
        # What the catalog knows of a checkpoint is more than that it embeds.
        self.model_type = model_type if self.model_type in ("", "sentence-transformers") else self.model_type
        self.tasks = list(dict.fromkeys([*self.tasks, *tasks]))

    def _open_conversed(self, open_source: Any, trust: bool) -> tuple[Source, TaskSpec]:
        refused: UnsupportedOperation | None = None
        for task in _CONVERSED:
            try:
                found: tuple[Source, TaskSpec] = open_source(self.name, self.path, task, trust_remote_code=trust)
                return found
            except UnsupportedOperation as error:
                refused = refused or error
        assert refused is not None
        raise refused
