"""Options of the vocabulary as Google writes them, beside the contents of a request.

Three kinds: OpenAI's names are translated; Google's own (``safety_settings``, ``thinkingConfig``, ...) are put where
they belong, in either spelling; what nobody knows goes to the top of the request as it is. What OpenAI has and Google
has not is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.dialects.gemini.messages import thinks_in_levels, wrong
from ipfs_accelerate_py.dialects.leftover import schema_of
from ipfs_accelerate_py.errors import UnsupportedOperation

__all__ = ["BUDGETS", "apply", "camel", "candidates", "tools_of"]

#: Tokens for a ``reasoning_effort``, of models that think in budgets: the table of Google's own OpenAI-compatible API
#: ("OpenAI compatibility", ai.google.dev/gemini-api/docs/openai).
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
#: The same for those that think in levels. There is no level for "none".
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}

_RENAMED = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "top_logprobs": "logprobs",
}
#: No answer depends on them.
_HINTS = frozenset(
    (
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "user",
    )
)
#: OpenAI's, without a counterpart.
_REFUSED = frozenset(
    """
    background function_call functions logit_bias moderation prediction verbosity web_search_options
    """.split()  # noqa: SIM905
)
#: Google's own, of `GenerationConfig`.
_CONFIG = frozenset(
    (
        "audioTimestamp",
        "candidateCount",
        "enableAffectiveDialog",
        "enableEnhancedCivicAnswers",
        "frequencyPenalty",
        "imageConfig",
        "maxOutputTokens",
        "mediaResolution",
        "presencePenalty",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "speechConfig",
        "stopSequences",
        "thinkingConfig",
        "topK",
        "topP",
    )
)
#: Google's own, of the request itself.
_TOP = frozenset(
    ("cachedContent", "generationConfig", "labels", "safetySettings", "serviceTier", "systemInstruction", "toolConfig")
)
_UNDERSCORE = re.compile(r"_([a-z0-9])")


def camel(name: str) -> str:
    """``stop_sequences`` as ``stopSequences``: protobuf's JSON reads both, but not one of each."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)


def candidates(options: Mapping[str, Any]) -> int:
    """How many answers are asked for."""
    config = options.get("generationConfig") or options.get("generation_config") or {}
    if isinstance(config, dict):
        config = {camel(name): value for name, value in config.items()}
    for given in (options.get("n"), options.get("candidate_count"), options.get("candidateCount"), config):
        count = given.get("candidateCount") if isinstance(given, dict) else given
        if isinstance(count, int) and count > 0:
            return count
    return 1


def apply(options: Mapping[str, Any], model: str, fields: dict[str, Any]) -> set[str]:
    """Write the options into the request's ``fields``, and tell which were left out as hints."""
    config: dict[str, Any] = {}
    own: dict[str, Any] = {}
    ignored: set[str] = set()
    tools = tools_of(options.get("tools"), fields)
    if any(tool.get("cache_control") for tool in options.get("tools") or ()):
        ignored.add("cache_control")
    for name, value in options.items():
        if value is None or name == "tools":
            continue
        if name in _RENAMED:
            if value != 0 or not name.endswith("_penalty"):
                config[_RENAMED[name]] = value
        elif name in _HINTS:
            ignored.add(name)
        elif name in _REFUSED:
            if value:
                raise UnsupportedOperation(_no(name))
        elif name in _TRANSLATED:
            try:
                _TRANSLATED[name](value, model, config, ignored)
            except (TypeError, AttributeError):
                raise wrong(f"{name} cannot be {value!r}", name) from None
        elif name == "tool_choice":
            _tool_choice(value, tools, fields)
        elif name == "parallel_tool_calls":
            if value is False and tools:
                raise UnsupportedOperation(_no("parallel_tool_calls=False"))
            ignored.add(name)
        else:
            own[name] = value
    if any(tool.get("strict") is True for tool in tools) and "toolConfig" not in fields:
        fields["toolConfig"] = {"functionCallingConfig": {"mode": "VALIDATED"}}
    _put_own(own, config, fields)
    if config:
        fields["generationConfig"] = config
    return ignored


def _put_own(own: Mapping[str, Any], config: dict[str, Any], fields: dict[str, Any]) -> None:
    """Google's names and unknown ones. They are said last, so they win."""
    for name, value in own.items():
        spelt = camel(name)
        if spelt == "generationConfig" and isinstance(value, dict):
            for inner, given in value.items():
                _merge(config, camel(inner), given)
        elif spelt in _CONFIG:
            _merge(config, spelt, value)
        elif spelt in _TOP:
            _merge(fields, spelt, value)
        else:
            fields[name] = value


def _merge(fields: dict[str, Any], name: str, value: Any) -> None:
    before = fields.get(name)
    if isinstance(before, dict) and isinstance(value, dict):
        value = {**before, **{camel(inner): given for inner, given in value.items()}}
    fields[name] = value


def _no(name: str) -> str:
    return f"Google's Gemini API has no counterpart of {name}"


# --- one at a time -----------------------------------------------------------------------------------------------


def _n(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    if value != 1:
        config["candidateCount"] = value


def _stop(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    words = [value] if isinstance(value, str) else list(value)
    if words:
        config["stopSequences"] = words


def _logprobs(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    if isinstance(value, bool):
        if value:
            config["responseLogprobs"] = True
    else:
        config["logprobs"] = value  # Google's own option of that name is a number


def _response_format(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return
    if kind not in ("json_object", "json_schema"):
        raise UnsupportedOperation(_no(f"response_format of type {kind!r}"))
    config["responseMimeType"] = "application/json"
    if kind == "json_schema":
        schema = schema_of(value)
        if schema is None:
            raise wrong("response_format needs a json_schema with a schema", "response_format.json_schema.schema")
        config["responseJsonSchema"] = schema


def _effort(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    effort = {"max": "xhigh"}.get(value, value)
    if effort not in BUDGETS:
        raise wrong(f"reasoning_effort must be one of {', '.join(BUDGETS)}, not {value!r}", "reasoning_effort")
    if effort == "none":
        made: dict[str, Any] = {"thinkingBudget": 0}
    elif thinks_in_levels(model):
        level = "LOW" if effort == "minimal" and "pro" in model else _LEVELS[effort]  # Pro has no MINIMAL
        made = {"thinkingLevel": level, "includeThoughts": True}
    else:
        made = {"thinkingBudget": BUDGETS[effort], "includeThoughts": True}
    config["thinkingConfig"] = made


def _thinking(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    """Anthropic's option: ``{"type": "enabled", "budget_tokens": 2048}``."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "disabled":
        config["thinkingConfig"] = {"thinkingBudget": 0}
    elif kind == "enabled":
        config["thinkingConfig"] = {"thinkingBudget": value.get("budget_tokens", -1), "includeThoughts": True}
    elif kind == "adaptive":
        config["thinkingConfig"] = {"includeThoughts": True, **config.get("thinkingConfig", {})}
    else:
        raise UnsupportedOperation(_no(f"thinking of type {kind!r}"))


def _modalities(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    wanted = [str(each).upper() for each in value]
    if wanted not in ([], ["TEXT"]):
        config["responseModalities"] = wanted


def _audio(value: Any, model: str, config: dict[str, Any], ignored: set[str]) -> None:
    if not isinstance(value, dict):
        raise wrong("audio must be an object", "audio")
    if value.get("format") not in (None, "pcm16"):
        raise UnsupportedOperation(_no(f"audio.format={value['format']!r}: sound comes as pcm16"))
    if value.get("voice"):
        config["speechConfig"] = voice(value["voice"])


def voice(name: Any) -> dict[str, Any]:
    """A prebuilt voice by its name."""
    return {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": name}}}


_TRANSLATED = {
    "n": _n,
    "stop": _stop,
    "logprobs": _logprobs,
    "response_format": _response_format,
    "reasoning_effort": _effort,
    "thinking": _thinking,
    "modalities": _modalities,
    "audio": _audio,
}


# --- tools -------------------------------------------------------------------------------------------------------


def tools_of(given: Any, fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the tools into the request's ``fields``; the functions are one tool. Gives the functions as they came."""
    functions: list[dict[str, Any]] = []
    declarations: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    if not isinstance(given, list | tuple | None):
        raise wrong(f"tools must be a list, not {type(given).__name__}", "tools")
    for number, tool in enumerate(given or ()):
        if not isinstance(tool, dict):
            raise wrong("a tool must be an object", f"tools[{number}]")
        kind = tool.get("type")
        if kind is None and "function" not in tool:
            made.append(tool)  # one of Google's own, as {"google_search": {}}
            continue
        function = tool.get("function")
        if kind not in (None, "function") or not isinstance(function, dict):
            raise UnsupportedOperation(
                f"{_no(f'tools[{number}].type={kind!r}')}; its own are written as it has them, "
                'for instance {"google_search": {}}'
            )
        declaration = {name: function[name] for name in ("name", "description") if function.get(name)}
        if function.get("parameters"):
            declaration["parametersJsonSchema"] = function["parameters"]
        functions.append(function)
        declarations.append(declaration)
    if declarations:
        made.insert(0, {"functionDeclarations": declarations})
    if made:
        fields["tools"] = made
    return functions


def _tool_choice(value: Any, tools: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    strict = any(tool.get("strict") is True for tool in tools)
    mode, names = _chosen(value, "VALIDATED" if strict else "AUTO")
    if not tools and mode in ("AUTO", "NONE"):
        return
    if names and mode == "AUTO":
        mode = "VALIDATED"  # the only one beside ANY that takes names
    config: dict[str, Any] = {"mode": mode}
    if names:
        config["allowedFunctionNames"] = names
    fields["toolConfig"] = {"functionCallingConfig": config}


def _chosen(value: Any, auto: str) -> tuple[str, list[Any]]:
    modes = {"auto": auto, "none": "NONE", "required": "ANY", "any": "ANY"}
    if isinstance(value, str) and value in modes:
        return modes[value], []
    if isinstance(value, dict):
        function = value.get("function")
        if value.get("type") == "function" and isinstance(function, dict) and function.get("name"):
            return "ANY", [function["name"]]
        allowed = value.get("allowed_tools")
        if value.get("type") == "allowed_tools" and isinstance(allowed, dict):
            try:
                names = [(tool.get("function") or tool)["name"] for tool in allowed.get("tools") or ()]
            except (AttributeError, KeyError, TypeError):
                raise wrong("allowed_tools must be a list of functions", "tool_choice.allowed_tools.tools") from None
            return modes.get(str(allowed.get("mode")), auto), names
    raise UnsupportedOperation(_no(f"tool_choice={value!r}"))
