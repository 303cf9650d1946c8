"""Who writes in `bench.generation`: ours by every runtime, and the peers, each in a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PEERS", "Contestant", "make_model", "ours"]

PROMPT = 32


@dataclass(slots=True)
class Contestant:
    """``write(batch, tokens)`` gives how many tokens were written; ``bytes`` are those of its weights."""

    name: str
    bytes: int
    write: Callable[[int, int], int]
    close: Callable[[], None]


def make_model(folder: Path, layers: int) -> Path:
    """GPT-2's shape with random weights and a byte-level tokenizer of 50,257 entries: bytes and pairs of them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_layer=layers)).eval().save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(one, other) for one in alphabet for other in alphabet][: 50256 - len(alphabet)]
    names = [*alphabet, *(one + other for one, other in pairs), "<|endoftext|>"]
    made = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token=end, eos_token=end).save_pretrained(folder)
    return folder


def prompts(count: int) -> list[list[int]]:
    return [[(7 * row + 3 * at) % 250 for at in range(PROMPT)] for row in range(count)]


def ours(folder: Path, runtime: str, precision: str, threads: int) -> Contestant:
    """As a caller has it: an asynchronous stream for each answer, with its text."""
    from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
    from ipfs_accelerate_py.runtimes.serving.jobs import Job
    from ipfs_accelerate_py.runtimes.serving.servable import open_servable

    # Random weights lose more by rounding than trained ones do, and what they lose is not what is measured here.
    plan = LoadPlan(runtime=runtime, device="cpu", precision=precision, threads=threads, force=True)
    servable = open_servable("gpt2-124m", folder, task="text-generation", plan=plan)
    loop = asyncio.new_event_loop()

    async def one(ids: list[int], tokens: int) -> int:
        options = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        written = 0
        async for chunk in servable.stream(Job(task="completion", inputs=[ids], options=options)):
            if chunk.usage is not None:
                written = chunk.usage.output_tokens
        return written

    async def all_of(batch: int, tokens: int) -> int:
        return sum(await asyncio.gather(*(one(ids, tokens) for ids in prompts(batch))))

    def close() -> None:
        servable.close()
        loop.close()

    size = servable.facts.memory
    return Contestant("ours", size, lambda *a: loop.run_until_complete(all_of(*a)), close)


def transformers_peer(folder: Path, precision: str, threads: int) -> Contestant:
    import torch
    from transformers import AutoModelForCausalLM

    if precision != "float32":
        raise ValueError(f"Transformers is measured in float32, not {precision}")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def write(batch: int, tokens: int) -> int:
        torch.set_num_threads(threads)
        ids = torch.tensor(prompts(batch))
        with torch.inference_mode():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                pad_token_id=50256,
            )
        return int(made.shape[0] * (made.shape[1] - ids.shape[1]))

    return Contestant("transformers", sum(each.numel() * 4 for each in model.parameters()), write, lambda: None)


def openvino_peer(folder: Path, precision: str, threads: int) -> Contestant:
    """What one writes by hand: `convert_model` with its own cache of keys and values made into state, and a loop. In
    8 bits its weights are compressed by NNCF, and the rest is as OpenVINO has it by default."""
    import numpy as np

    from ipfs_accelerate_py.runtimes.engines.openvino_quantise import silent
    from ipfs_accelerate_py.runtimes.extras import require

    openvino, nncf = require("openvino"), require("nncf")
    graph = _by_hand(folder)
    weights = sum(each.get_byte_size() for each in _constants(graph))
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    settings["INFERENCE_PRECISION_HINT"] = "f32"
    if precision == "float32":
        settings["KV_CACHE_PRECISION"] = "f32"
    else:
        mode = {"int8-weights": nncf.CompressWeightsMode.INT8_ASYM}[precision]
        with silent(nncf):
            graph = nncf.compress_weights(graph, mode=mode)
        weights = sum(each.get_byte_size() for each in _constants(graph))
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()

    def write(batch: int, tokens: int) -> int:
        request.reset_state()
        ids, length, order = np.array(prompts(batch), np.int64), 0, np.arange(batch, dtype=np.int32)
        for _ in range(tokens):
            places = np.arange(length, length + ids.shape[1], dtype=np.int64)[None].repeat(batch, 0)
            length += ids.shape[1]
            mask = np.ones((batch, length), np.int64)
            made = request.infer({"in0": ids, "in1": mask, "in2": places, "order": order}, share_inputs=True)
            ids = made["out0"].argmax(-1)[:, None]
        return batch * tokens

    return Contestant("OpenVINO by hand", weights, write, lambda: None)


def _by_hand(folder: Path) -> Any:
    """A stateful graph."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache
    from transformers.cache_utils import DynamicLayer

    from ipfs_accelerate_py.runtimes.extras import require

    openvino, opset = require("openvino"), require("openvino.opset14")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    config = model.requires_grad_(False).config
    layers, heads, size = config.n_layer, config.n_head, config.n_embd // config.n_head

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any, places: Any, *past: Any) -> Any:
            cache = DynamicCache()
            for at in range(layers):
                # As after a first `update`, which would join an empty tensor of no shape, and OpenVINO does not.
                layer = DynamicLayer()
                layer.keys, layer.values, layer.is_initialized = past[2 * at], past[2 * at + 1], True
                layer.dtype, layer.device = layer.keys.dtype, layer.keys.device
                cache.layers.append(layer)
            out = self.model(
                input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
            flat = [each for layer in cache.layers for each in (layer.keys, layer.values)]
            return out.logits[:, -1], *flat

    past = tuple(torch.zeros(2, heads, 3, size) for _ in range(2 * layers))
    example = (torch.ones(2, 4, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64),
               torch.arange(3, 7).repeat(2, 1), *past)  # fmt: skip
    with torch.inference_mode():
        graph = openvino.convert_model(Step().eval(), example_input=example)
    pairs = {}
    for at, port in enumerate(graph.inputs):
        port.get_tensor().set_names({f"in{at}"})
        shape = [-1, heads, -1, size] if at >= 3 else [-1, -1]
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
    for at, port in enumerate(graph.outputs):
        port.get_tensor().set_names({f"out{at}"})
        if at:
            pairs[f"in{at + 2}"] = f"out{at}"
    # OpenVINO makes one operation of attention and its state only where rows may be put in another order between them,
    # as a beam search does, and where the state begins empty by itself.
    order = opset.parameter(openvino.PartialShape([-1]), np.int32, name="order")
    order.output(0).get_tensor().set_names({"order"})
    for port in graph.inputs[3:]:
        targets = port.get_target_inputs()
        moved = opset.gather(port, order, opset.constant(np.int64(0)))
        for each in targets:
            each.replace_source_output(moved.output(0))
    graph.add_parameters([order])
    graph.validate_nodes_and_infer_types()
    require("openvino._offline_transformations").apply_make_stateful_transformation(graph, pairs)
    ids = opset.shape_of(graph.input("in0"), output_type="i64")
    rows = opset.gather(ids, opset.constant(np.array([0])), opset.constant(np.int64(0)))
    shape = opset.concat([rows, opset.constant(np.array([heads, 0, size]))], 0)
    for each in graph.get_ops():
        if each.get_type_name() == "ReadValue":
            each.set_arguments([opset.broadcast(opset.constant(np.float32(0)), shape).output(0)])
    graph.validate_nodes_and_infer_types()
    return graph


def _constants(graph: Any) -> list[Any]:
    return [each for each in graph.get_ops() if each.get_type_name() == "Constant"]


def llama_peer(folder: Path, precision: str, threads: int) -> Contestant:
    """llama.cpp's own server in this process, on the file that ours has written, asked from a thread for each row."""
    import xllamacpp
    from transformers import AutoConfig

    from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
    from ipfs_accelerate_py.runtimes.engines.llama_engine import gguf_of

    source = Source("gpt2-124m", folder, AutoConfig.from_pretrained(folder), "AutoModelForCausalLM")
    with gguf_of(source, precision, LoadPlan(force=True)) as (path, _):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel, params.n_ctx, params.kv_unified = 8, 8192, True
        params.verbosity = -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        size = path.stat().st_size
        server = xllamacpp.Server(params)
    server.handle_completions({"prompt": [0], "max_tokens": 1, "stream": False}, lambda said: True)

    def write(batch: int, tokens: int) -> int:
        written: list[int] = []

        def ask(ids: list[int]) -> None:
            def heard(event: Any) -> bool:
                found = event if isinstance(event, list) else [event]
                written.extend(each["usage"]["completion_tokens"] for each in found if each.get("usage"))
                return False

            body = {"prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
            server.handle_completions({**body, "stream_options": {"include_usage": True}}, heard)

        asking = [threading.Thread(target=ask, args=(ids,)) for ids in prompts(batch)]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        return sum(written)

    return Contestant("llama.cpp directly", size, write, lambda: None)


PEERS: dict[str, Callable[[Path, str, int], Contestant]] = {
    "torch": transformers_peer,
    "openvino": openvino_peer,
    "llvm": llama_peer,
}
