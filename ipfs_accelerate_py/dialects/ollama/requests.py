"""Requests in Ollama's own format, made of those of the vocabulary.

Source: ollama.openapi.yaml and docs/api of Ollama; options are those of its "Modelfile" reference. What Ollama has no
counterpart of is refused by name, unless its value asks for nothing or it is a hint.
"""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.dialects.leftover import schema_of
from ipfs_accelerate_py.dialects.ollama.messages import messages
from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.types import Call, ChatRequest, CompletionRequest, EmbedRequest

__all__ = ["MODEL_OPTIONS", "RUNNER_OPTIONS", "request_fields"]

#: Members of Ollama's ``options`` that say how the model is run; none of them is a wish about the answer.
RUNNER_OPTIONS = frozenset(
    """
    embedding_only f16_kv logits_all low_vram main_gpu num_batch num_ctx num_gpu num_keep num_thread numa use_mlock
    use_mmap vocab_only
    """.split()  # noqa: SIM905
)
#: All members that are known. Others are reached as members of the option ``options`` itself.
MODEL_OPTIONS = RUNNER_OPTIONS | frozenset(
    """
    frequency_penalty min_p mirostat mirostat_eta mirostat_tau num_predict penalize_newline presence_penalty
    repeat_last_n repeat_penalty seed stop temperature tfs_z top_k top_p typical_p
    """.split()  # noqa: SIM905
)
#: They change nothing of the answer.
_HINTS = frozenset(
    """
    cache_control metadata prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier
    store stream_options user
    """.split()  # noqa: SIM905
)
#: Options of OpenAI's formats without a counterpart, with the values by which they ask for nothing.
_WITHOUT: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (),
    "function_call": ("auto", "none"),
    "functions": (),
    "logit_bias": (),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "prediction": (),
    "verbosity": ("medium",),
    "web_search_options": (),
}
_EFFORTS: dict[str, Any] = {"none": False, "minimal": "low", "xhigh": "max"}


def request_fields(call: Call, model: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body's fields, and the names of what was left out because it changes nothing."""
    request = call.request
    ignored: dict[str, None] = {}
    fields: dict[str, Any] = {"model": model}
    if isinstance(request, ChatRequest):
        fields["messages"] = messages(request.messages, ignored)
    elif isinstance(request, CompletionRequest):
        fields["prompt"] = _prompt(request.prompt)
    elif isinstance(request, EmbedRequest):
        fields["input"] = _texts(request.input)
        if "encoding_format" in request.options:
            ignored["encoding_format"] = None  # vectors are floats in the end, however they travel
    else:
        raise UnsupportedOperation(f"Ollama's format has no operation {call.operation}")
    _add_options(fields, request.options, ignored)
    if not isinstance(request, EmbedRequest):
        fields["stream"] = call.stream  # always said: by default it streams
    return fields, tuple(ignored)


def _prompt(prompt: str | list[Any]) -> str:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    what = "several prompts in one request" if all(isinstance(each, str) for each in prompt) else "token ids"
    raise UnsupportedOperation(f"prompt: Ollama takes one text, not {what}")


def _texts(inputs: list[Any]) -> list[str]:
    for index, each in enumerate(inputs):
        if not isinstance(each, str):
            raise UnsupportedOperation(f"input[{index}]: Ollama embeds texts, not token ids")
    return inputs


def _add_options(fields: dict[str, Any], given: dict[str, Any], ignored: dict[str, None]) -> None:
    own: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name == "encoding_format":
            continue
        if name in _HINTS:
            ignored[name] = None
        elif name in _WITHOUT:
            if value and value not in _WITHOUT[name]:
                raise UnsupportedOperation(f"{name}: Ollama has no such option")
        elif name in MODEL_OPTIONS:
            own[name] = value
        else:
            rest[name] = value
    _lengths(own, rest)
    _tools(rest, ignored)
    _format(rest)
    _thinking(rest)
    _logprobs(rest)
    nested = rest.pop("options", None)
    if nested is not None:
        if not isinstance(nested, dict):
            raise InvalidRequest("options must be an object of Ollama's model options", param="options")
        own = {**nested, **own}
    if isinstance(own.get("stop"), str):
        own["stop"] = [own["stop"]]
    fields.update(rest)
    if own:
        fields["options"] = own


def _lengths(own: dict[str, Any], rest: dict[str, Any]) -> None:
    short, longer = rest.pop("max_tokens", None), rest.pop("max_completion_tokens", None)
    limit = short if longer is None else longer
    if limit is not None:
        own.setdefault("num_predict", limit)


def _tools(rest: dict[str, Any], ignored: dict[str, None]) -> None:
    choice = rest.pop("tool_choice", None)
    parallel = rest.pop("parallel_tool_calls", None)
    tools = rest.get("tools")
    if choice == "none":
        rest.pop("tools", None)  # a model that knows of no tools calls none
        return
    if choice not in (None, "auto"):
        raise UnsupportedOperation(
            "tool_choice: with Ollama the model itself decides whether to call a tool ('auto'), or has none ('none')"
        )
    if parallel is False and tools:
        raise UnsupportedOperation("parallel_tool_calls: Ollama cannot keep a model from calling several tools")
    if parallel is not None:
        ignored["parallel_tool_calls"] = None
    if tools is not None:
        rest["tools"] = [_tool(index, tool) for index, tool in enumerate(tools)]
        if any("cache_control" in tool for tool in tools):
            ignored["cache_control"] = None


def _tool(index: int, tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict) or tool.get("type") != "function":
        kind = tool.get("type") if isinstance(tool, dict) else type(tool).__name__
        raise UnsupportedOperation(f"tools[{index}]: Ollama knows tools of the type 'function', not {kind!r}")
    made = {name: value for name, value in tool.items() if name != "cache_control"}
    if "parameters" not in tool["function"]:
        made["function"] = {**tool["function"], "parameters": {"type": "object", "properties": {}}}
    return made


def _format(rest: dict[str, Any]) -> None:
    """``response_format`` as ``format``: ``"json"``, or the schema itself. Ollama's own ``format`` stays as it is."""
    wanted = rest.pop("response_format", None)
    if wanted is None or "format" in rest:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        rest["format"] = "json"
    elif kind == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        rest["format"] = schema_of(wanted) or "json"
    elif kind != "text":
        raise UnsupportedOperation(
            "response_format: Ollama has the types 'text', 'json_object' and 'json_schema', and this is none of them"
        )


def _thinking(rest: dict[str, Any]) -> None:
    effort = rest.pop("reasoning_effort", None)
    if effort is not None and "think" not in rest:
        rest["think"] = _EFFORTS.get(effort, effort) if isinstance(effort, str) else effort


def _logprobs(rest: dict[str, Any]) -> None:
    """OpenAI's completions have one number in the place of ``logprobs`` and ``top_logprobs``."""
    value = rest.get("logprobs")
    if isinstance(value, int) and not isinstance(value, bool):
        rest["logprobs"] = True
        if value:
            rest.setdefault("top_logprobs", value)
