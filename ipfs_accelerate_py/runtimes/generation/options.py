"""OpenAI's options to a `Sampling`: known ones checked, harmless ones left out, unknown ones refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest

from .base import Sampling

__all__ = ["RENAMED", "Asked", "as_completion", "read_options"]

#: Transformers' names of what OpenAI calls otherwise.
RENAMED = {"num_beams": "beams", "max_length": "max_tokens", "stop_strings": "stop", "min_new_tokens": "min_tokens"}

#: They change nothing of what is written here.
_IGNORED = frozenset(
    (
        *("user", "metadata", "store", "service_tier", "stream", "stream_options", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "prediction", "model"),
        *("extra_headers", "extra_query", "timeout", "priority"),
    )
)
#: Read by the template, or by the conversation itself.
_ELSEWHERE = frozenset(
    (
        *("tools", "tool_choice", "parallel_tool_calls", "chat_template", "chat_template_kwargs"),
        *("add_generation_prompt", "continue_final_message", "reasoning_effort"),
    )
)
_NUMBERS = (
    *("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"),
    *("top_k", "min_tokens", "seed", "max_tokens", "max_completion_tokens", "max_new_tokens"),
)
_WHOLE = frozenset(("top_k", "min_tokens", "seed", "max_tokens", "max_completion_tokens", "max_new_tokens"))
_OF_CHAT = frozenset(("top_logprobs", "response_format", "modalities", *_ELSEWHERE))
_OF_COMPLETION = frozenset(("echo", "best_of", "suffix", "add_special_tokens", "response_format"))
_COMMON = frozenset(
    (*_NUMBERS, "n", "stop", "logprobs", "logit_bias", "ignore_eos", "stop_token_ids", "constraint", "extra_body")
)
_MOST_CHOICES = 128


@dataclass(slots=True)
class Asked:
    """What was asked for.

    Attributes:
        sampling: how one choice is written; ``max_tokens`` None where nothing was said.
        n: choices.
        echo: whether the prompt is told too.
        options: all options, for the template.
    """

    sampling: Sampling
    n: int = 1
    echo: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def read_options(given: Mapping[str, Any], defaults: Mapping[str, Any], *, chat: bool) -> Asked:
    """Options under OpenAI's names (and ``top_k``, ``min_p``, ``repetition_penalty``, ``min_tokens``, ``ignore_eos``,
    ``stop_token_ids``, ``constraint`` beside them). ``defaults``: the checkpoint's own, for what is not said.

    Raises:
        InvalidRequest: names the option that is unknown, of the wrong kind, or not done here.
    """
    options = {key: value for key, value in given.items() if value is not None}
    options.update(options.pop("extra_body", None) or {})
    known = _COMMON | (_OF_CHAT if chat else _OF_COMPLETION)
    for name in options:
        if name not in known and name not in _IGNORED:
            _refuse(name, f"option {name!r} is not known here")
    values: dict[str, Any] = dict(defaults)
    for name in _NUMBERS:
        if name in options:
            values[name] = _number(name, options[name])
    limits = [values.pop(name) for name in ("max_completion_tokens", "max_new_tokens") if name in values]
    if limits:
        values["max_tokens"] = limits[0]
    if values.get("seed", 0) < 0:
        values["seed"] += 1 << 64  # OpenAI's seeds are signed
    if "stop" in options:
        values["stop"] = _stops(options["stop"])
    if "logit_bias" in options:
        values["logit_bias"] = _biases(options["logit_bias"])
    if "stop_token_ids" in options:
        values["stop_ids"] = list(options["stop_token_ids"])
    if "ignore_eos" in options:
        values["ignore_eos"] = bool(options["ignore_eos"])
    values["logprobs"] = _logprobs(options, chat=chat)
    values["constraint"] = _constraint(options)
    asked = Asked(Sampling(**values), options=options, echo=bool(options.get("echo", False)))
    asked.n = options.get("n", 1)
    if not isinstance(asked.n, int) or isinstance(asked.n, bool) or not 1 <= asked.n <= _MOST_CHOICES:
        _refuse("n", f"n must be from 1 to {_MOST_CHOICES}, not {asked.n!r}")
    if options.get("suffix"):
        _refuse("suffix", "suffix: models here write on from a prompt, they do not fill in")
    if options.get("best_of", asked.n) not in (1, asked.n):
        _refuse("best_of", "best_of is not done here: ask for n answers and choose")
    if set(options.get("modalities", ["text"])) != {"text"}:
        _refuse("modalities", "modalities: models here answer in text")
    return asked


def as_completion(options: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Options of a task that continues a text, for an engine that only completes in OpenAI's words. As elsewhere, the
    likeliest tokens are taken unless the call says otherwise, and ``most`` of them.

    Raises:
        InvalidRequest: names the option that such an engine does not have.
    """
    found = {RENAMED.get(key, key): value for key, value in options.items() if value is not None}
    for name in ("max_new_tokens", "max_completion_tokens"):
        if name in found:
            found["max_tokens"] = found.pop(name)
    if found.pop("beams", 1) != 1:
        _refuse("beams", "beams: llama.cpp does not search with them; use runtime torch")
    if found.pop("return_full_text", False):
        _refuse("return_full_text", "return_full_text: llama.cpp tells the answer alone; use runtime torch")
    sampled = found.pop("do_sample", False)
    return {"temperature": 1.0 if sampled else 0.0, "max_tokens": most, **found}


def _number(name: str, value: Any) -> Any:
    kinds = (int,) if name in _WHOLE else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        _refuse(name, f"{name} must be a {'whole ' if name in _WHOLE else ''}number, not {value!r}")
    return value


def _stops(value: Any) -> list[str]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) and each for each in found):
        _refuse("stop", "stop must be a text or a list of texts, none of them empty")
    return list(found)


def _biases(value: Any) -> dict[int, float]:
    try:
        found = {int(key): float(bias) for key, bias in value.items()}
    except (AttributeError, TypeError, ValueError):
        _refuse("logit_bias", "logit_bias maps token ids to numbers")
    if any(not -100 <= bias <= 100 for bias in found.values()):
        _refuse("logit_bias", "a logit_bias must be from -100 to 100")
    return found


def _logprobs(options: Mapping[str, Any], *, chat: bool) -> int | None:
    asked, most = options.get("logprobs"), options.get("top_logprobs")
    if not chat:
        if asked is None or asked is False:
            return None
        if not isinstance(asked, int) or not 0 <= asked <= 20:
            _refuse("logprobs", "logprobs must be from 0 to 20")
        return int(asked)
    if not asked:
        if most is not None and most != 0:
            _refuse("top_logprobs", "top_logprobs needs logprobs=true")
        return None
    if most is not None and (not isinstance(most, int) or not 0 <= most <= 20):
        _refuse("top_logprobs", "top_logprobs must be from 0 to 20")
    return most or 0


def _constraint(options: Mapping[str, Any]) -> dict[str, Any] | None:
    own, asked = options.get("constraint"), options.get("response_format")
    if own is not None and not isinstance(own, Mapping):
        _refuse("constraint", "constraint is an object with one of json_schema, json_object, regex, grammar")
    if asked is None:
        return dict(own) if own is not None else None
    if own is not None:
        _refuse("constraint", "constraint and response_format cannot be used together")
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"json_object": True}
    if kind == "json_schema":
        found = asked.get("json_schema")
        schema = found.get("schema") if isinstance(found, Mapping) else None
        if schema is None:
            _refuse("response_format", "response_format: json_schema needs an object with a schema")
        try:
            json.dumps(schema)
        except (TypeError, ValueError) as exc:
            _refuse("response_format", f"response_format: the schema is no JSON: {exc}")
        return {"json_schema": schema}
    _refuse("response_format", "response_format: type must be text, json_object or json_schema")
    return None


def _refuse(name: str, message: str) -> Any:
    raise InvalidRequest(message, status=400, param=name)
