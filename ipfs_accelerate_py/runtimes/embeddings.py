"""Embedding texts with a model in this process.

Give :meth:`EmbeddingRuntime.load` a sentence-transformers folder, and ask it from as many tasks and threads as you
like: texts that arrive together run together.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, RuntimeUnavailable

from .batching import BatchCutter
from .devices import available_cpus, choose_device, choose_dtype
from .embedding_steps import embedding_steps
from .encoder import EncoderModel
from .extras import require
from .folder import read_folder
from .scheduler import BatchScheduler
from .threads import processors, thread_setter
from .tokenizing import TextEncoder
from .transformer_step import MAX_STREAMS, OpenVINOTransformer, TorchTransformer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .engines.base import LoadPlan

__all__ = ["EmbeddingRuntime", "Embeddings"]

# What a batch may hold by default. A processor is saturated by a few hundred tokens and slows down when the
# activations leave its caches; a GPU wants many more.  (max tokens, max padding, min tokens when work is shared)
_LIMITS = {"cpu": (2048, 128, 512), "openvino": (1024, 64, 256), "cuda": (16384, 2048, 1)}
_MAX_ITEMS = 512

# Forward threads on a processor. Two threads with a batch each beat two threads inside one batch: torch's thread pool
# meets at a barrier after every operation, and on a machine that does anything else (the event loop, to begin with)
# each barrier can cost a scheduler tick; measured here, up to 40 times slower. There are at most `MAX_STREAMS`.


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of some texts, in the order of the texts.

    Attributes:
        vectors: float32 of shape ``(texts, dimensions)``.
        tokens: tokens of each text that the model has seen, special tokens counted.
    """

    vectors: NDArray[np.float32]
    tokens: list[int]

    @property
    def total_tokens(self) -> int:
        """Tokens of all texts together."""
        return sum(self.tokens)


class EmbeddingRuntime:
    """A loaded embedding model. Make one with :meth:`load`; end it with :meth:`aclose` or :meth:`close`.

    Attributes:
        name: what the model is called.
        path: its folder.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``.
        dtype: ``"float32"`` or ``"bfloat16"``; vectors are float32 either way.
        dimensions: size of a vector.
        max_tokens: longest text in tokens, special tokens counted; longer ones are cut unless the caller objects.
        prompts: texts put in front of an input, by prompt name.
    """

    def __init__(
        self, name: str, path: Path, encoder: EncoderModel, tokenizer: TextEncoder, cutter: BatchCutter,
        *, device: str, dtype: str, threads: int | None, prompts: Mapping[str, str], default_prompt: str | None,
        include_prompt: bool,
    ) -> None:  # fmt: skip
        self.name = name
        self.path = path
        self.device = device
        self.dtype = dtype
        self.prompts = prompts
        self.max_tokens = tokenizer.max_tokens
        self._default_prompt = default_prompt
        self._include_prompt = include_prompt
        self._normalizes = encoder.normalizes
        self._tokenizer = tokenizer
        self._prompt_lengths: dict[str, int] = {}

        # One word through the whole chain: it proves that the parts fit, and its vector tells the size.
        steps = embedding_steps(encoder, tokenizer, start=thread_setter(threads if not encoder.waits else 1))
        if threads is not None:
            steps = processors().shared(steps, threads, waits=encoder.waits)
        try:
            ((word,),) = steps.prepare(["a"], 0, {"skip": 0, "truncate": True})
            probe = steps.collect(steps.forward([word]), [word])
        except Exception as exc:
            raise RuntimeUnavailable(f"model {name!r} cannot be served: its parts do not fit: {exc}") from exc
        self.dimensions = int(probe[0].shape[0])
        #: Bytes that its weights take.
        self.memory = encoder.memory
        #: What quantising cost (`engines.loss.Loss`), or None.
        self.loss = encoder.loss
        #: What computes the transformer: ``torch`` or ``openvino``.
        self.engine = "openvino" if encoder.waits else "torch"
        self._scheduler = BatchScheduler(steps, cutter, name="embed")
        # The scheduler holds no reference to the runtime, so one that nobody closed can be collected; its threads end
        # then, or when the interpreter exits.
        self._finalizer = weakref.finalize(self, _abandon, self._scheduler)
        self._finalizer.atexit = False
        atexit.register(self._scheduler.close)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        device: str = "cpu",
        dtype: str = "auto",
        max_batch_tokens: int | None = None,
        max_batch_items: int = _MAX_ITEMS,
        threads: int | None = None,
        plan: LoadPlan | None = None,
    ) -> EmbeddingRuntime:
        """Load a sentence-transformers folder. Takes seconds and blocks: call it in a thread from a coroutine.

        Nothing is downloaded and no code in the folder is run.

        Args:
            path: the folder that holds ``modules.json``.
            name: what to call the model; the folder's name if not given.
            device: ``cpu``, ``cuda``, ``cuda:<number>``, or ``auto`` for CUDA where there is one.
            dtype: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 where the device computes it in hardware.
            max_batch_tokens: most tokens in a batch, padding counted; by default 2048 on a processor, 16384 on CUDA.
            max_batch_items: most texts in a batch.
            threads: processors to use when the device is ``cpu``; by default all that this process may use.
            plan: with the runtime ``openvino`` the transformer runs there, on the plan's device, in its precision.

        Raises:
            RuntimeUnavailable: the folder or the device cannot be used, with the reason.
            MissingExtra: torch, transformers or tokenizers is not installed.
            ConfigurationError: a setting makes no sense.
        """
        for setting, value in (("max_batch_tokens", max_batch_tokens), ("max_batch_items", max_batch_items)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{setting} must be at least 1, not {value}")
        if threads is not None and threads < 1:
            raise ConfigurationError(f"threads must be at least 1, not {threads}")
        folder = read_folder(path, name)
        engine = "torch"
        transformer: TorchTransformer | OpenVINOTransformer
        if plan is not None and plan.runtime == "openvino":
            transformer = OpenVINOTransformer(folder, replace(plan, threads=threads or plan.threads))
            # Pooling is torch's on the processor, whatever device the transformer runs on.
            device, dtype, engine = "cpu", transformer.precision, "openvino"
            encoder = EncoderModel(folder, transformer, device="cpu")
        else:
            device = choose_device(device)
            dtype = choose_dtype(dtype, device)
            transformer = TorchTransformer(folder, device=device, dtype=dtype)
            encoder = EncoderModel(folder, transformer, device=device)
        tokenizer = TextEncoder(folder, encoder.max_positions)
        on_cpu = device == "cpu"
        transformer_on_cpu = on_cpu and getattr(transformer, "device", "CPU") == "CPU"
        cpus = threads or available_cpus()
        if isinstance(transformer, OpenVINOTransformer):
            workers = transformer.streams
        else:
            workers = min(cpus, MAX_STREAMS) if on_cpu else 1
        max_tokens, max_padding, min_tokens = _LIMITS[engine if engine == "openvino" else "cpu" if on_cpu else "cuda"]
        cutter = BatchCutter(
            max_tokens=max_batch_tokens or max_tokens,
            max_items=max_batch_items,
            max_padding=max_padding,
            workers=workers,
            min_tokens=min_tokens,
        )
        # What OpenVINO has under way is one model's, and has all processors; torch's passes come one by one.
        threads_each = cpus if engine == "openvino" else cpus // workers
        return cls(
            folder.name, folder.path, encoder, tokenizer, cutter,
            device=device, dtype=dtype, threads=threads_each if transformer_on_cpu else None,
            prompts=folder.prompts, default_prompt=folder.default_prompt,
            include_prompt=folder.pooling.include_prompt,
        )  # fmt: skip

    async def embed(
        self,
        texts: Sequence[str],
        *,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool = True,
        priority: int = 1,
    ) -> Embeddings:
        """Vectors of ``texts``, in their order. An empty string is a text like any other.

        Cancelling the call drops those of its texts that are not running yet.

        Args:
            prompt_name: which of :attr:`prompts` to put in front; by default the model's own choice.
            normalize: True for unit vectors, False for vectors as pooled; None does what the model's folder says.
            dimensions: keep only the first so many values of each vector, normalised again where they were before.
            truncate: cut texts longer than :attr:`max_tokens`; False raises instead.
            priority: 0 goes before 1, and that before 2; those who wait long have a turn all the same.

        Raises:
            ContextLengthExceeded: with ``truncate=False``, a text is too long; the message names it and the limit.
            InvalidRequest: not a list of strings, or no such prompt, or so many dimensions are not to be had.
            RuntimeUnavailable: the model failed, or was closed.
        """
        future = self._submit(texts, prompt_name, normalize, dimensions, truncate, priority)
        return Embeddings(*(await asyncio.wrap_future(future)))

    def embed_sync(
        self,
        texts: Sequence[str],
        *,
        prompt_name: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool = True,
        priority: int = 1,
    ) -> Embeddings:
        """As :meth:`embed`, blocking the calling thread. Not for a thread that runs an event loop."""
        future = self._submit(texts, prompt_name, normalize, dimensions, truncate, priority)
        try:
            return Embeddings(*future.result())
        except BaseException:
            future.cancel()
            raise

    def snapshot(self) -> dict[str, Any]:
        """Counts since loading, and what waits now.

        ``batches``, ``items``, ``tokens``, ``padded_tokens`` (run so far), ``padding_ratio`` (share of padding in
        them), ``failed`` and ``cancelled`` (requests), and ``queue`` with ``requests`` (unanswered), ``items`` and
        ``tokens`` (tokenised and not yet running), ``oldest_s``.
        """
        return self._scheduler.snapshot()

    async def aclose(self) -> None:
        """Fail what waits, let running batches finish, end the threads. Later calls raise RuntimeUnavailable."""
        self._forget_exit()
        await self._scheduler.aclose()

    def close(self) -> None:
        """As :meth:`aclose`, blocking."""
        self._forget_exit()
        self._scheduler.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<EmbeddingRuntime {self.name} on {self.device} in {self.dtype}, {self.dimensions} dimensions>"

    def _forget_exit(self) -> None:
        self._finalizer.detach()
        atexit.unregister(self._scheduler.close)

    def _submit(
        self,
        texts: Sequence[str],
        prompt_name: str | None,
        normalize: bool | None,
        dimensions: int | None,
        cut: bool,
        priority: int,
    ) -> Future[tuple[NDArray[np.float32], list[int]]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidRequest("input must be a list of strings", status=400, param="input")
        # Types are looked at because these values may come from a request as they are.
        if dimensions is not None and (type(dimensions) is not int or not 1 <= dimensions <= self.dimensions):
            raise InvalidRequest(
                f"dimensions must be a whole number from 1 to {self.dimensions} for {self.name}",
                status=400,
                param="dimensions",
            )
        for option, flag in (("normalize", normalize), ("truncate", cut)):
            if not isinstance(flag, bool) and (flag is not None or option == "truncate"):
                raise InvalidRequest(f"{option} must be true or false", status=400, param=option)
        prompt, skip = self._prompt(prompt_name)
        finish = _Finish(self._normalizes if normalize is None else normalize, dimensions or self.dimensions)
        if not len(texts):
            empty: Future[tuple[NDArray[np.float32], list[int]]] = Future()
            empty.set_result((require("numpy").zeros((0, finish.dimensions), dtype="float32"), []))
            return empty
        prefixed = [prompt + text for text in texts] if prompt else list(texts)
        return self._scheduler.submit(prefixed, {"skip": skip, "truncate": cut}, finish=finish, priority=priority)

    def _prompt(self, name: str | None) -> tuple[str, int]:
        """The prompt's text, and how many tokens at the start pooling leaves out because of it."""
        name = self._default_prompt if name is None else name
        if name is None:
            return "", 0
        if not isinstance(name, str) or name not in self.prompts:
            known = ", ".join(sorted(self.prompts))
            raise InvalidRequest(f"{self.name} has no prompt {name!r}; it has {known}", status=400, param="prompt_name")
        prompt = self.prompts[name]
        if not prompt or self._include_prompt:
            return prompt, 0
        if prompt not in self._prompt_lengths:
            self._prompt_lengths[prompt] = self._tokenizer.prompt_length(prompt)
        return prompt, self._prompt_lengths[prompt]


@dataclass(frozen=True, slots=True)
class _Finish:
    """A request's rows to its result."""

    normalize: bool
    dimensions: int

    def __call__(self, rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        np = require("numpy")
        vectors = np.stack([row[: self.dimensions] for row in rows])
        if not np.isfinite(vectors).all():
            bad = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise RuntimeUnavailable(f"the model computed no finite vector for input {bad}")
        if self.normalize:
            # The floor keeps a zero vector zero, as torch.nn.functional.normalize does.
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors  # type: ignore[no-any-return]


def _abandon(scheduler: BatchScheduler) -> None:
    # The garbage collector may come by in any thread, one of the scheduler's own that holds its lock among them: that
    # thread cannot wait for the others.
    atexit.unregister(scheduler.close)
    # No daemon: it may let go of the last tensor, for which torch takes the interpreter's lock, and a daemon thread
    # that does so while the interpreter ends is torn down in the middle of C++, which aborts the process.
    closing = threading.Thread(target=scheduler.close, name="embed_close", daemon=False)
    with contextlib.suppress(RuntimeError):  # the interpreter is ending, and begins no thread any more
        closing.start()
