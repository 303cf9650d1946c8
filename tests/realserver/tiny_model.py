"""A tiny chat model that knows a few conversations by heart, for a real inference server to serve.

``python tiny_model.py HF_HOME`` makes the model and writes it into the Hugging Face cache layout under ``HF_HOME``, so
that a server which knows only that cache finds it, and lists it, without a network. The model is a two-layer Qwen2 with
random weights, trained on the lessons below until it repeats them word for word: real tokens, real stops and a real
tool call for some seconds on one core.

The tests import the lessons from here; torch is imported by the making alone, which runs in a process of its own.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A name with a slash, as every model on the Hub has: a gateway that splits names too eagerly loses half of it.
MODEL_ID = "tests/tiny-chat"

CAPITAL_QUESTION = "What is the capital of France?"
CAPITAL_ANSWER = "The capital of France is Paris."
#: The same question as the chat template writes it, for plain completions.
CAPITAL_PROMPT = f"<|im_start|>user\n{CAPITAL_QUESTION}<|im_end|>\n<|im_start|>assistant\n"

BRIEF_SYSTEM = "Be brief."
BRIEF_ANSWER = "Paris."

TONGUES_QUESTION = "Greet me in three tongues."
#: Characters of two, three and four bytes, which a byte-level tokenizer cuts across tokens.
TONGUES_ANSWER = "Grüß Gott! こんにちは 👋🏽"

SUM_QUESTION = "What is two plus two?"
SUM_THOUGHT = "Two and two make four."
SUM_ANSWER = "Four."

WEATHER_QUESTION = "What is the weather in Paris?"
WEATHER_ARGUMENTS = {"city": "Paris"}
WEATHER_RESULT = "sunny"
WEATHER_ANSWER = "It is sunny in Paris."

GET_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True)
class Lesson:
    """One conversation; its last message is what the model learns to say."""

    messages: list[dict[str, Any]]
    tools: bool = False


def user(text: str) -> Any:
    """A user's message; ``Any``, so that each client takes it for its own message type."""
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


_WEATHER_CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    # Arguments as a mapping, which is how chat templates want them; on the wire they are JSON text.
    "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": WEATHER_ARGUMENTS}}],
}

LESSONS: tuple[Lesson, ...] = (
    Lesson([user(CAPITAL_QUESTION), _assistant(CAPITAL_ANSWER)]),
    Lesson([{"role": "system", "content": BRIEF_SYSTEM}, user(CAPITAL_QUESTION), _assistant(BRIEF_ANSWER)]),
    Lesson([user(TONGUES_QUESTION), _assistant(TONGUES_ANSWER)]),
    Lesson([user(SUM_QUESTION), _assistant(f"<think>{SUM_THOUGHT}</think>{SUM_ANSWER}")]),
    Lesson([user(WEATHER_QUESTION), _WEATHER_CALL], tools=True),
    Lesson(
        [
            user(WEATHER_QUESTION),
            _WEATHER_CALL,
            {"role": "tool", "content": WEATHER_RESULT},
            _assistant(WEATHER_ANSWER),
        ],
        tools=True,
    ),
)


# --- the making ----------------------------------------------------------------------------------------------------

#: Stands for the commit that a download from the Hub would have: 40 hex digits, any will do.
_REVISION = "0" * 40

_SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

#: ChatML, as Qwen2 has it. Tools are spoken of by name only, which keeps short what is to be learnt.
_CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
Tools:{% for tool in tools %} {{ tool.function.name }}{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.tool_calls %}{% for call in message.tool_calls %}<tool_call>
{{ {"name": call.function.name, "arguments": call.function.arguments} | tojson }}
</tool_call>{% endfor %}{% else %}{{ message.content }}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

_MAX_STEPS = 600
_KNOWN_BY_HEART = 0.01  # mean cross-entropy per token, at which greedy decoding has long been exact


def _make_tokenizer() -> Any:
    """A byte-level BPE tokenizer trained on the lessons, as a ``PreTrainedTokenizerFast``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([json.dumps(lesson.messages) for lesson in LESSONS], trainer)
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_CHAT_TEMPLATE,
        model_max_length=4096,
    )


def _make_model(vocabulary: int, eos: int, pad: int) -> Any:
    """A two-layer ``Qwen2ForCausalLM`` of hidden size 64 with random weights (always the same ones)."""
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            eos_token_id=eos,
            pad_token_id=pad,
            bos_token_id=None,
        )
    )
    # Greedy by default: one question always has one answer.
    generation: Any = GenerationConfig
    model.generation_config = generation(eos_token_id=eos, pad_token_id=pad, do_sample=False)
    return model


def _teach(model: Any, tokenizer: Any) -> float:
    """Train on what the assistant says in the lessons until it is known by heart; returns the last loss."""
    import torch

    ignore = -100
    rows, labels = [], []
    for lesson in LESSONS:
        tools = [GET_WEATHER] if lesson.tools else None
        whole = tokenizer.apply_chat_template(lesson.messages, tools=tools, tokenize=False).removesuffix("\n")
        prompt = tokenizer.apply_chat_template(
            lesson.messages[:-1], tools=tools, tokenize=False, add_generation_prompt=True
        )
        if not whole.startswith(prompt):
            raise ValueError(f"the chat template does not extend its own prompt: {whole!r}")
        asked = tokenizer.encode(prompt)
        # Encoded apart, because a server encodes the prompt alone.
        said = tokenizer.encode(whole.removeprefix(prompt))
        rows.append(asked + said)
        labels.append([ignore] * len(asked) + said)
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    targets = torch.tensor([row + [ignore] * (width - len(row)) for row in labels])

    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    loss = float("inf")
    model.train()
    for _ in range(_MAX_STEPS):
        output = model(input_ids=ids, attention_mask=mask, labels=targets)
        loss = output.loss.item()
        if loss < _KNOWN_BY_HEART:
            break
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    model.eval()
    return loss


def main(hf_home: Path) -> None:
    """Make the model and write it under ``hf_home`` as the Hub's own cache would hold it."""
    import torch

    torch.set_num_threads(1)  # the matrices are too small to share out
    tokenizer = _make_tokenizer()
    model = _make_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    loss = _teach(model, tokenizer)
    if loss >= _KNOWN_BY_HEART:
        raise SystemExit(f"the model has not learnt its lessons: loss {loss:.3f} after {_MAX_STEPS} steps")

    repository = hf_home / "hub" / ("models--" + MODEL_ID.replace("/", "--"))
    snapshot = repository / "snapshots" / _REVISION
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(_REVISION)
    model.save_pretrained(snapshot)
    tokenizer.save_pretrained(snapshot)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
