"""Loading a decoder for OpenVINO: its graph kept stateful on disk, paged when it is compiled, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.generation.base import Prompt
from ipfs_accelerate_py.runtimes.generation.positions import most_positions

from .calibration_texts import TEXTS
from .loss import Loss, measure
from .openvino_agreement import compare
from .openvino_decoder import export_decoder, make_paged
from .openvino_devices import core
from .openvino_export import first_line
from .openvino_network import OpenVINONetwork
from .openvino_paged import PagedSteps
from .openvino_ports import Disagrees
from .openvino_quantise import quantise
from .openvino_stateful import StatefulSteps

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WritingNetwork", "build_decoder", "compile_steps", "loss_of_decoder", "texts_to_ids"]

#: How the checks compute: in float32, keys and values too.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


class WritingNetwork(OpenVINONetwork):
    """A decoder: `steps` is what generation works with; a plain forward pass has a graph made for it."""

    _steps: Any = None

    def writes_by(self, steps: Any) -> WritingNetwork:
        self._steps = steps
        return self

    def steps(self) -> PagedSteps | StatefulSteps:
        """See `generation.steps.StepModel`."""
        found: PagedSteps | StatefulSteps = self._steps
        return found

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()
        self._steps = None
        super().close()


def build_decoder(model: Any, config: Any) -> tuple[Any, dict[str, Any]]:
    """The stateful graph of a torch model, and facts: whether it can be paged, and how well it agrees with torch.

    Raises:
        RuntimeUnavailable: it cannot be exported, or neither way of running it gives what torch gives.
    """
    made = export_decoder(model)
    reasons = [made.reason] if made.reason else []
    for paged in (True, False) if made.paged is not None else (False,):
        try:
            steps = compile_steps(made.stateful.clone(), config, "CPU", EXACT, paged=paged)
            agreement = _agreement(model, steps)
            return made.stateful, {"paged": paged, "reason": "; ".join(reasons), "agreement": agreement}
        except Disagrees as exc:
            reasons.append(f"{'paged' if paged else 'stateful'}: {exc}")
        except Exception as exc:  # a graph that does not compile or run is as good as none
            reasons.append(f"{'paged' if paged else 'stateful'}: {type(exc).__name__}: {first_line(exc)}")
    raise RuntimeUnavailable(f"OpenVINO cannot generate with it: {'; '.join(reasons)}")


def compile_steps(
    graph: Any, config: Any, device: str, settings: Mapping[str, Any], *, paged: bool, reason: str = ""
) -> PagedSteps | StatefulSteps:
    """What writes with a stateful graph. A paged one cannot be read from disk, so it is made here each time."""
    size = int(config.get_text_config(decoder=True).vocab_size)
    limit = most_positions(config)
    if paged:
        compiled = core().compile_model(make_paged(graph), device, dict(settings))
        return PagedSteps(compiled, vocab_size=size, max_positions=limit)
    compiled = core().compile_model(graph, device, dict(settings))
    return StatefulSteps(compiled, vocab_size=size, max_positions=limit, reason=reason)


def loss_of_decoder(graph: Any, precision: str, texts: Sequence[Sequence[int]]) -> tuple[Any, Loss]:
    """The graph with smaller weights, and how much more it is surprised by what it would have written.

    Only weights are stored smaller. Activations OpenVINO quantises to 8 bits as it goes, for all such weights, which
    is most of what makes them fast; so it is measured that way.
    """
    before = _logits(graph.clone(), texts)
    made = quantise(graph, "int8-weights" if precision == "int8" else precision, ())
    after = _logits(made.clone(), texts, dynamic=True)
    return made, measure(before, after, writes=True)


def texts_to_ids(source: Any, given: Sequence[Any], size: int, limit: int) -> list[list[int]]:
    """Token ids of the caller's texts or of ours; where the checkpoint has no tokenizer, ids drawn by chance."""
    np = require("numpy")
    transformers = require("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.path), local_files_only=True)
        ids = [list(tokenizer(str(text))["input_ids"])[:limit] for text in given or TEXTS]
        found = [[each for each in row if each < size] for row in ids]
        if all(len(row) > 1 for row in found):
            return found
    except Exception:  # a checkpoint without a tokenizer, or one that cannot be read, has none to use
        tokenizer = None
    drawn = np.random.default_rng(0)
    return [drawn.integers(0, size, min(limit, 24)).tolist() for _ in range(8)]


def _logits(graph: Any, texts: Sequence[Sequence[int]], *, dynamic: bool = False) -> list[dict[str, NDArray[Any]]]:
    np = require("numpy")
    settings = {**EXACT, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32} if dynamic else EXACT
    compiled = core().compile_model(graph, "CPU", settings)
    names = {name for port in compiled.inputs for name in port.get_names()}
    request = compiled.create_infer_request()
    found = []
    for ids in texts:
        request.reset_state()
        given = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "position_ids": np.arange(len(ids))[None],
            "cache_position": np.arange(len(ids)),
            "beam_idx": np.zeros(1, np.int32),
        }
        request.infer({name: value for name, value in given.items() if name in names})
        found.append({"logits": request.get_output_tensor(0).data.copy()})
    return found


def _agreement(model: Any, steps: PagedSteps | StatefulSteps) -> float:
    """The worst cosine of logits against torch's: of two prompts read and continued, together where rows may be."""
    np, torch = require("numpy"), require("torch")
    drawn = np.random.default_rng(1)
    long = max(3, min(37, steps.max_positions - 6))
    texts = [drawn.integers(0, steps.vocab_size, count).tolist() for count in (long, 3)]
    rows = [steps.open(Prompt(ids=list(ids))) for ids in texts]
    worst = 1.0

    def check(got: Sequence[Any]) -> None:
        nonlocal worst
        for ids, logits in zip(texts, got, strict=True):
            with torch.no_grad():
                expected = model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()
            worst = min(worst, compare("logits", expected, logits))

    got: list[Any] = [None, None]
    while any(each is None for each in got):
        waiting = [at for at in range(2) if got[at] is None]
        for at, logits in zip(waiting, steps.prefill([rows[at] for at in waiting], 20), strict=True):
            got[at] = None if logits is None else logits.copy()
    check(got)
    for _ in range(3):
        tokens = [int(logits.argmax()) for logits in got]
        for ids, token in zip(texts, tokens, strict=True):
            ids.append(token)
        got = [each.copy() for each in steps.step(rows, tokens)]
        check(got)
    for row in rows:
        steps.release(row)
    return worst
