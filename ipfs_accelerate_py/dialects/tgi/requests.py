"""Requests as TGI writes them: what its own parameters are called, and what its chat can and cannot be asked.

TGI leaves out fields that it does not know without a word, so what would change the answer is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.dialects.leftover import schema_of
from ipfs_accelerate_py.dialects.tgi.messages import chat_messages, plain_tools
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.types import CompletionRequest, Message

__all__ = ["chat_fields", "generate_fields"]

#: Hints, none of which changes the answer.
_HINTS = frozenset(
    """
    metadata prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier store
    stream_options user
    """.split()  # noqa: SIM905
)
#: OpenAI's options that TGI has no counterpart of, with what is neutral beside None, False, 0, 1 (of ``n``) and empty.
_NO_CHAT: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logit_bias": (),
    "top_k": (-1,),
    "reasoning_effort": ("none",),
    "verbosity": (),
    "moderation": (),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "functions": (),
    "function_call": ("none",),
}
_NO_COMPLETION: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logit_bias": (),
    "presence_penalty": (),
    "suffix": (),
    "tools": (),
}


# --- chat --------------------------------------------------------------------------------------------------------


def chat_fields(
    model: str, messages: list[Message], options: dict[str, Any], *, stream: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of a chat, and the names of what was left out of it and changes nothing."""
    given = {name: value for name, value in options.items() if value is not None}
    ignored = [name for name in given if name in _HINTS and name != "stream_options"]
    if given.get("reasoning_effort") == "none":
        ignored.append("reasoning_effort")
    _refuse(given, _NO_CHAT, "TGI's chat")
    if "parallel_tool_calls" in given:  # it calls one at most, whatever is said
        del given["parallel_tool_calls"]
        ignored.append("parallel_tool_calls")
    if "max_completion_tokens" in given:
        given["max_tokens"] = given.pop("max_completion_tokens")
    _stop(given)
    if given.get("top_p") == 1:  # "must be < 1.0", and it is the default
        del given["top_p"]
    for name in ("tools", "top_logprobs"):
        if not given.get(name, True):
            del given[name]
    if (grammar := _grammar(given.pop("response_format", None))) is not None:
        given["response_format"] = grammar
    sent, lost = chat_messages(messages)
    if given.get("tools") and (plain := plain_tools(given["tools"])) != given["tools"]:
        given["tools"] = plain
        ignored.append("tools.cache_control")
    fields = {
        "model": model or "tgi",  # the name that TGI's documentation gives to whatever it serves
        "messages": sent,
        **{name: value for name, value in given.items() if name not in _HINTS},
    }
    if stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True, **given.get("stream_options", {})}
    return fields, tuple(ignored + lost)


# --- generate ----------------------------------------------------------------------------------------------------


def generate_fields(request: CompletionRequest, *, stream: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of ``/generate``: options under OpenAI's names or TGI's own, or together in ``parameters``."""
    given = {name: value for name, value in request.options.items() if value is not None}
    ignored = [name for name in given if name in _HINTS]
    parameters: dict[str, Any] = dict(given.pop("parameters", None) or {})
    _refuse(given, _NO_COMPLETION, "TGI")
    fields: dict[str, Any] = {"inputs": _prompt(request.prompt), "parameters": parameters}
    if "options" in given:  # of the hosted service: use_cache, wait_for_model
        fields["options"] = given.pop("options")
    for name in ("max_tokens", "max_completion_tokens"):
        if name in given:
            parameters["max_new_tokens"] = given.pop(name)
    if given.pop("echo", False):
        if stream:
            raise UnsupportedOperation("TGI does not stream the prompt: 'echo' is for whole answers")
        parameters["return_full_text"] = True
    top = given.pop("logprobs", None)
    if isinstance(top, int) and not isinstance(top, bool) and top > 0:  # the tokens' own are in the details always
        parameters["top_n_tokens"] = top
    if (grammar := _grammar(given.pop("response_format", None))) is not None:
        parameters["grammar"] = grammar
    _stop(given)
    _sampling(given, parameters)
    parameters.update((name, value) for name, value in given.items() if name not in _HINTS)
    parameters.setdefault("details", True)
    return fields, tuple(ignored)


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    if not isinstance(prompt, str):
        raise UnsupportedOperation("TGI continues one text a call: 'prompt' must be a text, not several nor token ids")
    return prompt


def _sampling(given: dict[str, Any], parameters: dict[str, Any]) -> None:
    """TGI samples when it is told to, and takes no temperature of 0 and no ``top_p`` of 1 (both are its defaults)."""
    temperature = given.get("temperature")
    if given.get("top_p") == 1:
        del given["top_p"]
    if temperature == 0:
        del given["temperature"]
        parameters.setdefault("do_sample", given.pop("do_sample", False))
    elif temperature is not None:
        parameters.setdefault("do_sample", given.pop("do_sample", True))
    if given.get("presence_penalty") == 0:
        del given["presence_penalty"]


# --- both --------------------------------------------------------------------------------------------------------


def _refuse(given: dict[str, Any], unknown: Mapping[str, tuple[Any, ...]], where: str) -> None:
    """Take out what is neutral of the options that TGI does not have, and refuse the first that is not."""
    for name, neutral in unknown.items():
        if name not in given:
            continue
        value = given.pop(name)
        if value and value not in neutral:
            raise UnsupportedOperation(f"{where} has no counterpart of {name!r}; it was {value!r}")


def _stop(given: dict[str, Any]) -> None:
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]


def _grammar(wanted: Any) -> dict[str, Any] | None:
    """``response_format`` as TGI's grammar; grammars of TGI's own (``json``, ``regex``) are left as they are."""
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        raise ConfigurationError(f"response_format must be an object, not {type(wanted).__name__}")
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_schema" and isinstance(wanted.get("json_schema"), Mapping):
        return {"type": "json", "value": schema_of(wanted) or {}}
    if kind == "json_object" and "value" not in wanted:
        raise UnsupportedOperation(
            "TGI has no counterpart of response_format 'json_object': it wants a schema; use 'json_schema'"
        )
    return dict(wanted)
