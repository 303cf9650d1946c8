"""A model opened in llama.cpp, which batches, templates and parses by itself."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.devices import available_cpus
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.gguf import GGUFFacts

from .base import LoadPlan
from .llama_conversation import LlamaConversation
from .loss import Loss

__all__ = ["LlamaNetwork"]

#: Answers written at once, and positions of all of them together, where nothing else is said.
PARALLEL = 8
MOST_CONTEXT = 32_768


class LlamaNetwork:
    """See `Network`: it has no forward pass to offer, only `conversation`."""

    engine = "llvm"
    device = "cpu"
    inputs: frozenset[str] | None = None

    def __init__(self, path: Path, facts: GGUFFacts, *, name: str, precision: str, plan: LoadPlan) -> None:
        if facts.pooled:
            raise RuntimeUnavailable(
                f"model {name!r} embeds text and does not write; llama.cpp is used for writing here"
            )
        self.precision = precision
        self.memory = facts.size
        self.facts = facts
        self.loss: Loss | None = None
        self._name = name
        parallel = int(plan.options.get("parallel", PARALLEL))
        trained = facts.context or 2048
        context = int(plan.options.get("context", min(MOST_CONTEXT, trained * parallel)))
        self._server: Any = self._open(path, plan, parallel, context)
        self._conversation = LlamaConversation(
            self._server,
            self._key,
            name=name,
            parallel=parallel,
            context=min(context, trained),
            template=facts.template,
        )

    def _open(self, path: Path, plan: LoadPlan, parallel: int, context: int) -> Any:
        xllamacpp = require("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = parallel
        params.n_ctx = context
        # Answers share all positions: one may be long while others are short.
        params.kv_unified = True
        if self.precision == "float32":
            # By default keys and values are kept in 16 bits, which shows in what is written.
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.use_jinja = True
        params.verbosity = -1
        params.warmup = True
        threads = plan.threads or available_cpus()
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.n_gpu_layers = int(plan.options.get("gpu_layers", 0))
        # It listens on a loopback port of its own, where nobody else is to ask.
        self._key = secrets.token_urlsafe(32)
        params.api_keys = [self._key]
        try:
            server = xllamacpp.Server(params)
            # Its loop runs once this is answered. A server that is ended before that never ends.
            server.handle_completions({"prompt": [0], "max_tokens": 1, "stream": False}, lambda said: True)
            return server
        except Exception as exc:  # its binding raises bare errors for what llama.cpp says
            raise RuntimeUnavailable(f"model {self._name!r} cannot be loaded: llama.cpp says: {exc}") from exc

    def conversation(self) -> LlamaConversation:
        """Chat and completion, by llama.cpp's own batcher."""
        return self._conversation

    def launch(self, batch: Any) -> Any:
        raise UnsupportedOperation("llama.cpp gives no single forward pass: a GGUF model chats and completes")

    collect = launch

    def close(self) -> None:
        self._conversation.close()
        server, self._server = self._server, None
        with contextlib.suppress(Exception):
            del server
