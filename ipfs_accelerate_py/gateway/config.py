"""What a gateway serves and how: from a YAML file, the environment, and flags; the later one wins.

Reading a configuration sends nothing to anybody. A wrong one is refused whole, with every problem in it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.credentials import Credentials, make_secret
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway import litellm, litellm_words
from ipfs_accelerate_py.gateway.aliases import put_together
from ipfs_accelerate_py.gateway.backend_fields import read_backends, read_settings
from ipfs_accelerate_py.gateway.entries import AliasEntry, BackendEntry, GatewayKey, KeyEntry, ModelEntry
from ipfs_accelerate_py.gateway.feature_sections import read_features
from ipfs_accelerate_py.gateway.fields import FIELDS
from ipfs_accelerate_py.gateway.key_list import read_keys
from ipfs_accelerate_py.gateway.model_list import Group, read_models
from ipfs_accelerate_py.gateway.router_section import read_router
from ipfs_accelerate_py.gateway.yaml_source import Field, Problems, Section, as_yaml, read_yaml

__all__ = ["AliasEntry", "BackendEntry", "GatewayConfig", "GatewayKey", "KeyEntry", "ModelEntry", "load_config"]

VARIABLE_PREFIX = "IPFS_ACCELERATE_GATEWAY_"


@dataclasses.dataclass(frozen=True)
class GatewayConfig:
    """A gateway's configuration. Durations in seconds, sizes in bytes.

    Attributes:
        models: names that clients may ask for, each with its target.
        aliases: names with several targets, or with others that stand in for them.
        router: what holds for all aliases: ``mid_stream``, ``health_check_interval``, ``health_check``.
        backends: backends all of whose models are served, as ``backend/model``.
        settings: pipeline settings (`ipfs_accelerate_py.settings.Settings`) of every HTTP backend.
        host, port: where to listen; port 0 takes a free one.
        api_keys: with at least one, clients must show one of them as a bearer token.
        keys: virtual keys: each with its tenant, models, rates and budget.
        admin_keys: with at least one, ``/admin`` answers whoever shows it.
        features: caches, limits, ledger, ...: by section, what it says.
        max_body_bytes, max_header_bytes: of a request.
        header_timeout, body_timeout: for the whole of a request's head, and of its body.
        keep_alive_timeout: how long an idle connection is kept.
        write_timeout: how long a client may leave an answer unread.
        shutdown_timeout: what requests under way get to finish when the gateway stops.
        shutdown_delay: how long it goes on as before after SIGTERM, with ``/health`` saying 503, so that a load
            balancer notices in time.
        environment: serve every backend for which a key or URL is in the environment.
        local: serve the models on this machine.
        preload: local models to load at the start, in the background; None loads the first there is.
        warnings: what is worth telling whoever runs this.
    """

    models: tuple[ModelEntry, ...] = ()
    aliases: tuple[AliasEntry, ...] = ()
    router: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backends: tuple[BackendEntry, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[GatewayKey, ...] = ()
    keys: tuple[KeyEntry, ...] = ()
    admin_keys: tuple[GatewayKey, ...] = ()
    features: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_body_bytes: int = 64 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    keep_alive_timeout: float = 75.0
    write_timeout: float = 120.0
    shutdown_timeout: float = 30.0
    shutdown_delay: float = 0.0
    environment: bool = True
    local: bool = True
    preload: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()


# --- reading -----------------------------------------------------------------------------------------------------


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    credentials: Credentials | None = None,
) -> GatewayConfig:
    """The configuration from ``path``, then variables ``IPFS_ACCELERATE_GATEWAY_<FIELD>``, then ``overrides``.

    Args:
        path: a YAML file; without one (and without ``IPFS_ACCELERATE_GATEWAY_CONFIG``), what the environment has keys
            for and the models on this machine are served.
        environ: the process's own by default.
        overrides: fields by name (``host``, ``port``, ``api_key``, ...); None values say nothing.
        credentials: where ``os.environ/NAME`` is looked up; by default in environment, ``.env``, credentials file.

    Raises `ConfigurationError`, with file, line and field of every problem.
    """
    environ = os.environ if environ is None else environ
    places = credentials or Credentials(environ=environ)
    if path is None:
        path = environ.get(VARIABLE_PREFIX + "CONFIG") or None
    problems = Problems("environment" if path is None else Path(path).name, places)
    if path is not None:
        problems.folder = Path(path).resolve().parent
    fields: dict[str, Any] = {}
    if path is not None:
        top = read_yaml(_text(path), problems)
        if top is not None:
            fields = _read(top, problems)
    _from_environment(environ, fields, problems)
    _from_flags(overrides or {}, fields, problems)
    problems.raise_any()
    return GatewayConfig(**fields, warnings=tuple(problems.warnings))


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the configuration {os.fspath(path)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the configuration {os.fspath(path)} is not UTF-8 text (byte {error.start})"
        ) from None


def _read(top: Section, problems: Problems) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    keys: list[GatewayKey] = []
    settings: dict[str, Any] = {}
    words = litellm.RouterWords()
    if (field := top.take("settings")) is not None and (section := field.section()) is not None:
        settings = read_settings(section)
    if (field := top.take("gateway")) is not None and (section := field.section()) is not None:
        keys += _keys(section.take("api_key", "api_keys"))
        if admin := _keys(section.take("admin_key", "admin_keys")):
            fields["admin_keys"] = tuple(admin)
        _own_fields(section, fields)
        section.finish()
    if (field := top.take("general_settings")) is not None and (section := field.section()) is not None:
        keys += _keys(section.take("master_key"))
        section.finish(litellm_words.GENERAL_REFUSED, litellm_words.GENERAL_IGNORED)
    told: dict[str, Any] = {}
    if (field := top.take("litellm_settings")) is not None and (section := field.section()) is not None:
        told = litellm.read_litellm_settings(section, words)
    if (field := top.take("router_settings")) is not None and (section := field.section()) is not None:
        told |= litellm.read_router_settings(section, words)
    if (field := top.take("router")) is not None and (section := field.section()) is not None:
        fields["router"] = read_router(section, words)
    settings = {**told, **settings}
    models = top.take("model_list")
    backends = top.take("backends")
    groups: dict[str, Group] = {}
    wildcards: tuple[BackendEntry, ...] = ()
    if models is not None:
        groups, wildcards = read_models(models)
    whole = (*wildcards, *(read_backends(backends) if backends is not None else ()))
    fields["models"], fields["aliases"] = put_together(groups, whole, words)
    fields["backends"] = whole
    if models is not None or backends is not None:
        # Whoever lists what is served means that list.
        fields.setdefault("environment", False)
        fields.setdefault("local", False)
    if (field := top.take("keys")) is not None:
        fields["keys"] = read_keys(field)
    if keys:
        fields["api_keys"] = tuple(keys)
    fields["settings"] = settings
    fields["features"] = read_features(top)
    top.finish({"environment_variables": "is not read here; export the variables, or write them into .env"})
    return fields


def _own_fields(section: Section, fields: dict[str, Any]) -> None:
    for name, check in FIELDS.items():
        field = section.take(name)
        if field is not None:
            value = field.checked(check)
            if value is not None:
                fields[name] = value


def _keys(field: Field | None) -> list[GatewayKey]:
    if field is None:
        return []
    return [GatewayKey(*found) for item in field.items() if (found := item.secret()) is not None]


def _from_environment(environ: Mapping[str, str], fields: dict[str, Any], problems: Problems) -> None:
    for name, check in FIELDS.items():
        text = environ.get(VARIABLE_PREFIX + name.upper())
        if text:
            value = [each.strip() for each in text.split(",")] if name == "preload" else as_yaml(text)
            if name == "host":
                value = text
            _set(fields, name, check, value, VARIABLE_PREFIX + name.upper(), problems)
    variable = VARIABLE_PREFIX + "API_KEY"
    try:
        found = problems.credentials.keys(None, (), (variable,))
    except ConfigurationError as error:
        problems.error(None, "", str(error))
        return
    if found:
        fields["api_keys"] = tuple(GatewayKey(each.name, each.secret) for each in found)


def _from_flags(overrides: Mapping[str, Any], fields: dict[str, Any], problems: Problems) -> None:
    for name, value in overrides.items():
        if value is None:
            continue
        if name == "api_key":
            try:
                fields["api_keys"] = (GatewayKey("option", make_secret(value, "the gateway's key")),)
            except ConfigurationError as error:
                problems.error(None, name, str(error))
        elif name in FIELDS:
            _set(fields, name, FIELDS[name], value, name, problems)
        else:
            raise ConfigurationError(f"a gateway has no field {name!r}; it has: {', '.join(FIELDS)}, api_key")


def _set(
    fields: dict[str, Any], name: str, check: Callable[[Any], Any], value: Any, where: str, problems: Problems
) -> None:
    try:
        fields[name] = check(value)
    except ValueError as error:
        problems.error(None, where, str(error))
