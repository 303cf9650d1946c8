"""The fields of a configuration that describe a backend: address, keys, headers, settings and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.backends import BackendSpec, backend_names, find_backend
from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import ConfigurationError, UnknownBackend
from ipfs_accelerate_py.gateway.entries import BackendEntry
from ipfs_accelerate_py.gateway.yaml_source import Field, Section
from ipfs_accelerate_py.settings import TIME_LIMITS, Settings

__all__ = ["known_backend", "read_backend", "read_backends", "read_limits_of_time", "read_settings", "setting"]


def read_backends(field: Field) -> tuple[BackendEntry, ...]:
    """``backends``: by name, with address, keys and settings."""
    section = field.section()
    found: list[BackendEntry] = []
    if section is None:
        return ()
    for name, entry in section.rest():
        if not known_backend(name, entry):
            continue
        if entry.empty:
            found.append(BackendEntry(find_backend(name).name, place=entry.problems.place(entry.line)))
            continue
        inner = entry.section()
        if inner is not None:
            found.append(read_backend(name, inner))
            inner.finish()
    return tuple(found)


def known_backend(name: str, field: Field) -> bool:
    """Whether there is such a backend that answers requests; else it is reported."""
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


def read_backend(name: str, section: Section, litellm: Mapping[str, str] | None = None) -> BackendEntry:
    """Address, keys, headers and settings; ``litellm`` maps LiteLLM's names of settings to ours, in an entry of its."""
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
    headers = _headers(section, litellm=litellm is not None)
    settings: dict[str, Any] = {}
    if litellm is not None:
        settings = read_settings(section, litellm, only=True)
    elif (field := section.take("settings")) is not None and (inner := field.section()) is not None:
        settings = read_settings(inner)
    if litellm is None and (field := section.take("options")) is not None and (inner := field.section()) is not None:
        settings |= _options(spec, inner)
    if litellm is None and spec.in_process:
        # How a model of this machine is loaded may stand beside its name.
        for option in spec.options:
            if (field := section.take(option.name)) is not None:
                settings[option.name] = field.checked(_scalar)
    return BackendEntry(spec.name, url, keys, headers, settings, section.problems.place(section.line))


def read_settings(section: Section, names: Mapping[str, str] | None = None, *, only: bool = False) -> dict[str, Any]:
    """Pipeline settings; ``names`` maps other names to theirs, and ``only`` those are taken and the rest left."""
    checker = Settings()
    aliases = dict(names or {})
    if not only:
        aliases.update({name: name for name in checker.as_dict()})
    found: dict[str, Any] = {}
    for name, setting_name in aliases.items():
        field = section.take(name)
        if field is not None:
            found[setting_name] = field.checked(setting(setting_name, checker))
    if not only:
        section.finish()
    return found


def read_limits_of_time(section: Section) -> dict[str, Any]:
    """The limits of time that stand in an entry itself: ``first_content_timeout: 6``."""
    return read_settings(section, {name: name for name in TIME_LIMITS}, only=True)


def setting(name: str, checker: Settings | None = None) -> Callable[[Any], Any]:
    """The check of one pipeline setting."""
    made = checker or Settings()

    def check(value: Any) -> Any:
        made.update({name: value})
        return getattr(made, name)

    return check


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
