"""Tiny models that llama.cpp can run: with byte-level BPE, and weights large enough that a wrong position shows."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.runtimes.engines.base import Source
from ipfs_accelerate_py.runtimes.engines.llama_conversation import LlamaConversation
from ipfs_accelerate_py.types import Chunk

POSITIONS = 256
TEXT = 'hello world this is a test of tokens, and how they are made. {"name": 1, "city": "Rome"}'
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: As Hermes' and Qwen's do it: the tools in the system's message, calls as JSON between tags.
TOOLS_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n# Tools\n<tools>{% for t in tools %}\n{{ t | tojson }}{% endfor %}\n</tools>\n"
    'For each call return <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call><|im_end|>\n{% endif %}'
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(template: str | None = TEMPLATE) -> Any:
    """Byte-level BPE of some 400 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"],
    )
    made.train_from_iterator([TEXT] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    return fast


def byte_pieces() -> list[int]:
    """Ids of tokens that are parts of a letter, of which llama.cpp tells nothing until it is whole."""
    words = tokenizer()
    return [at for at in range(4, len(words)) if not words.decode([at]).isascii()]


def write(kind: str, folder: Path, *, template: str | None = TEMPLATE, spread: float = 0.15, **changes: Any) -> Path:
    """A checkpoint of two layers; its random weights are spread that much."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer(template)
    shared = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1}
    if kind == "gpt2":
        config = AutoConfig.for_model(kind, n_embd=64, n_layer=2, n_head=4, n_positions=POSITIONS, **shared)
    else:
        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
        more = {"num_key_value_heads": 2, "max_position_embeddings": POSITIONS, "head_dim": 16}
        config = AutoConfig.for_model(kind, **{**sizes, **more, **shared, **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 2 * spread if "embed" in name or "wte" in name else spread)
            elif "bias" in name:
                weight.normal_(0, 0.05)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def source(folder: Path) -> Source:
    from transformers import AutoConfig

    return Source(folder.name, folder, AutoConfig.from_pretrained(folder), "AutoModelForCausalLM")


class Answer:
    """What the listener of one request is told; `end` waits for its last chunk or its error."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self._told: queue.Queue[Chunk | Exception] = queue.Queue()

    def __call__(self, told: Chunk | Exception) -> None:
        self._told.put(told)

    def next(self) -> Chunk:
        told = self._told.get(timeout=20)
        if isinstance(told, Exception):
            raise told
        self.chunks.append(told)
        return told

    def end(self) -> Answer:
        while self.next().usage is None:
            pass
        return self

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def last(self) -> Chunk:
        return self.chunks[-1]


def complete(talk: LlamaConversation, prompt: str | list[int], **options: Any) -> Answer:
    answer = Answer()
    talk.complete(prompt, options, answer)
    return answer.end()


def chat(talk: LlamaConversation, messages: list[dict[str, Any]], **options: Any) -> Answer:
    answer = Answer()
    talk.chat(messages, options, answer)
    return answer.end()


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


Make = Callable[..., Path]
Options = Mapping[str, Any]
