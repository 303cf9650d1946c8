"""The parts of a configuration that name models and backends: ours, and LiteLLM's way of writing them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.backends import BackendSpec, backend_names, find_backend
from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import ConfigurationError, UnknownBackend
from ipfs_accelerate_py.gateway.yaml_source import Field, Section
from ipfs_accelerate_py.settings import Settings

__all__ = ["BackendEntry", "ModelEntry", "read_backends", "read_models", "read_settings"]

_MODEL = "must be a backend and its model, such as openai/gpt-4o"


@dataclasses.dataclass(frozen=True)
class BackendEntry:
    """One backend as a configuration describes it.

    ``keys`` are by name; None leaves it to the backend's own variables, and an empty mapping means that none is sent.
    """

    backend: str
    base_url: str | None = None
    keys: Mapping[str, Secret] | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: str = ""


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A name that clients ask for, and the model of a backend that answers."""

    name: str
    model: str
    target: BackendEntry


_LITELLM_SETTINGS = {
    "timeout": "total_timeout",
    "max_retries": "max_retries",
    "num_retries": "max_retries",
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "max_parallel_requests": "max_concurrent_requests",
}
_DEFAULTS = "is an option of requests; clients send it, the configuration cannot (yet)"
_LITELLM_REFUSED = {
    **dict.fromkeys(
        ["temperature", "max_tokens", "top_p", "seed", "stop", "n", "presence_penalty", "frequency_penalty", "user"],
        _DEFAULTS,
    ),
    "mock_response": "is not supported: nothing here makes up answers (the simulator does: ipfs-accelerate simulate)",
    "api_version": "is Azure's, which is not among the backends yet",
    "custom_llm_provider": "is not needed: write the backend in front of the model (openai/...)",
    "litellm_credential_name": "is not supported; write api_key: os.environ/NAME",
    "use_in_pass_through": "is not supported yet; remove it",
    "max_budget": "is not supported yet; remove it",
    "budget_duration": "is not supported yet; remove it",
}
_LITELLM_IGNORED = {
    **dict.fromkeys(
        [
            "input_cost_per_token",
            "output_cost_per_token",
            "input_cost_per_second",
            "tags",
            "weight",
            "order",
            "drop_params",
            "additional_drop_params",
            "stream_timeout",
            "cooldown_time",
            "model_info",
            "merge_reasoning_content_in_choices",
        ],
        "has no effect here yet",
    ),
}


# --- entries -----------------------------------------------------------------------------------------------------


def read_models(field: Field) -> tuple[tuple[ModelEntry, ...], tuple[BackendEntry, ...]]:
    """``model_list``: the names, and the backends that a ``backend/*`` serves whole."""
    entries: dict[str, ModelEntry] = {}
    wildcards: list[BackendEntry] = []
    for section in field.sections():
        name_field = section.take("model_name", "name")
        name = name_field.text() if name_field is not None else None
        if name_field is None:
            section.problems.error(section.line, section.path, "has no model_name, the name that clients ask for")
        found = _target(section)
        if name is None or name_field is None or found is None:
            continue
        model, target = found
        if "*" in name or "*" in model:
            if name == model == "*" or (name.endswith("/*") and model == "*" and name[:-2] == target.backend):
                wildcards.append(target)
            else:
                name_field.error(
                    "a * stands for all models of one backend: write the same on both sides, such as openai/*"
                )
        elif name in entries:
            name_field.error(
                f"the name {name!r} has a target already ({entries[name].target.place}); several targets for one name, "
                "and fallbacks between them, come with the router"
            )
        else:
            entries[name] = ModelEntry(name, model, target)
    return tuple(entries.values()), tuple(wildcards)


def read_backends(field: Field) -> tuple[BackendEntry, ...]:
    """``backends``: by name, with address, keys and settings."""
    section = field.section()
    found: list[BackendEntry] = []
    if section is None:
        return ()
    for name, entry in section.rest():
        if not _known_backend(name, entry):
            continue
        if entry.empty:
            found.append(BackendEntry(find_backend(name).name, place=entry.problems.place(entry.line)))
            continue
        inner = entry.section()
        if inner is not None:
            found.append(_backend(name, inner))
    return tuple(found)


def read_settings(section: Section, names: Mapping[str, str] | None = None, *, only: bool = False) -> dict[str, Any]:
    """Pipeline settings; ``names`` maps other names to theirs, and ``only`` those are taken and the rest left."""
    checker = Settings()
    aliases = dict(names or {})
    if not only:
        aliases.update({name: name for name in checker.as_dict()})
    found: dict[str, Any] = {}
    for name, setting in aliases.items():
        field = section.take(name)
        if field is not None:
            value = field.checked(_setting(checker, setting))
            found[setting] = value
    if not only:
        section.finish()
    return found


def _setting(checker: Settings, name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        checker.update({name: value})
        return getattr(checker, name)

    return check


def _target(section: Section) -> tuple[str, BackendEntry] | None:
    """The model and its backend, from ``litellm_params`` or from the entry itself."""
    params = section.take("litellm_params")
    if params is None:
        found = _model_and_backend(section, section.take("model"))
        section.take("model_info")
        section.finish()
        return found
    section.take("model_info")
    inner = params.section()
    if inner is None:
        return None
    found = _model_and_backend(inner, inner.take("model"), litellm=True)
    inner.finish(_LITELLM_REFUSED, _LITELLM_IGNORED)
    section.finish(
        dict.fromkeys(section.names(), "stands beside litellm_params; write it inside them, or leave them out")
    )
    return found


def _model_and_backend(
    section: Section, field: Field | None, *, litellm: bool = False
) -> tuple[str, BackendEntry] | None:
    if field is None:
        section.problems.error(section.line, section.path, f"has no model; it {_MODEL}")
        _backend("openai", section, litellm=litellm)  # for the other problems there may be
        return None
    text = field.text() or ""
    backend, slash, model = text.partition("/")
    if not slash:
        backend, model = "openai", text  # as LiteLLM reads it
    known = bool(model) and _known_backend(backend, field)
    entry = _backend(backend if known else "openai", section, litellm=litellm)
    if text and not model:
        field.error(_MODEL)
    return (model, entry) if known else None


def _known_backend(name: str, field: Field) -> bool:
    try:
        store = find_backend(name).store
    except UnknownBackend:
        field.error(
            f"there is no backend {name!r}; the backends are: {', '.join(backend_names())}. A server that speaks "
            "OpenAI's format is openai/<model> with its own api_base"
        )
        return False
    if store:
        field.error(f"{name!r} keeps files and answers no requests for models")
    return not store


def _backend(name: str, section: Section, *, litellm: bool = False) -> BackendEntry:
    spec = find_backend(name)
    url_field = section.take("api_base", "base_url")
    url = url_field.checked(_url) if url_field is not None else None
    keys = _read_keys(section)
    if spec.in_process and (url_field is not None or keys):
        section.problems.error(
            section.line, section.path, f"{name!r} runs in this process: it has no address and no key"
        )
    if keys is None and url is not None and url_field is not None:
        # The backend's own variables hold a key for its own address, and this is another one.
        keys = {}
        if spec.needs_key(url, {}):
            url_field.error(
                f"has no api_key beside it, and the key in {spec.key_env[0]} is not sent to an address that is not "
                f"{spec.name}'s own; write api_key: os.environ/NAME (or any text, where the server wants none)"
            )
    headers = _headers(section, litellm=litellm)
    settings: dict[str, Any] = {}
    if litellm:
        settings = read_settings(section, _LITELLM_SETTINGS, only=True)
    elif (field := section.take("settings")) is not None and (inner := field.section()) is not None:
        settings = read_settings(inner)
    if not litellm and (field := section.take("options")) is not None and (inner := field.section()) is not None:
        settings |= _options(spec, inner)
    if not litellm and section.path.startswith("backends."):
        section.finish()
    return BackendEntry(spec.name, url, keys, headers, settings, section.problems.place(section.line))


def _options(spec: BackendSpec, section: Section) -> dict[str, Any]:
    """What a backend can be told beside settings, under the names that its row has for it; no credentials."""
    found = {}
    for option in spec.options:
        if not option.secret and (field := section.take(option.name)) is not None:
            found[option.name] = field.checked(_scalar)
    section.finish()
    return found


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("must be a text, a number, true or false")
    return value


def _read_keys(section: Section) -> dict[str, Secret] | None:
    field = section.take("api_key", "api_keys")
    if field is None:
        return None
    keys: dict[str, Secret] = {}
    for number, item in enumerate(field.items(), 1):
        found = item.secret()
        if found is not None:
            name, secret = found
            keys[f"{name}_{number}" if name == "config" or name in keys else name] = secret
    return keys


def _headers(section: Section, *, litellm: bool) -> dict[str, str]:
    headers: dict[str, str] = {}
    field = section.take("extra_headers", "headers") if litellm else section.take("headers")
    if field is not None and (inner := field.section()) is not None:
        for name, item in inner.rest():
            text = item.text()
            if text is not None and (not name.isascii() or any(c in text + name for c in "\r\n\0")):
                item.error("cannot be an HTTP header")
            elif text is not None:
                headers[name] = text
    organization = section.take("organization") if litellm else None
    if organization is not None and (text := organization.text()) is not None:
        headers["OpenAI-Organization"] = text
    return headers


def _url(value: Any) -> str:
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://, such as http://127.0.0.1:8001/v1")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password; write the key as api_key")
    if parts.query or parts.fragment:
        raise ConfigurationError("must not have a query (?...) or fragment (#...)")
    return str(value).rstrip("/")
