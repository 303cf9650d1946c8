"""What a gateway serves and how: from a YAML file, the environment, and flags; the later one wins.

Reading a configuration sends nothing to anybody. A wrong one is refused whole, with every problem in it.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.credentials import Credentials, Secret, make_secret
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway.model_list import BackendEntry, ModelEntry, read_backends, read_models, read_settings
from ipfs_accelerate_py.gateway.yaml_source import Field, Problems, Section, as_yaml, read_yaml

__all__ = ["BackendEntry", "GatewayConfig", "GatewayKey", "ModelEntry", "load_config"]

VARIABLE_PREFIX = "IPFS_ACCELERATE_GATEWAY_"


@dataclasses.dataclass(frozen=True)
class GatewayKey:
    """A key that clients show. ``name`` is the variable it came from, or ``config``."""

    name: str
    secret: Secret


@dataclasses.dataclass(frozen=True)
class GatewayConfig:
    """A gateway's configuration. Durations in seconds, sizes in bytes.

    Attributes:
        models: names that clients may ask for, each with its target.
        backends: backends all of whose models are served, as ``backend/model``.
        settings: pipeline settings (`ipfs_accelerate_py.settings.Settings`) of every HTTP backend.
        host, port: where to listen; port 0 takes a free one.
        api_keys: with at least one, clients must show one of them as a bearer token.
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
    backends: tuple[BackendEntry, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[GatewayKey, ...] = ()
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


# --- the gateway's own fields: one check a kind, for YAML, environment and flags alike ---------------------------


def _host(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "/" in value:
        raise ValueError("must be a host name or address, such as 127.0.0.1 (or 0.0.0.0 for every interface)")
    return value.strip().removeprefix("[").removesuffix("]")


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise ValueError(f"must be a port number from 0 (any free one) to 65535, not {value!r}")
    return value


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1024:
        raise ValueError(f"must be a whole number of bytes of at least 1024, not {value!r}")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"must be a number of seconds, not {value!r}")
    return float(value)


def _some_seconds(value: Any) -> float:
    if _seconds(value) == 0:
        raise ValueError("must be more than 0 seconds")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def _names(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if value is None or value is False:
        return ()
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise ValueError("must be a model's name or a list of them")
    return tuple(given)


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "host": _host,
    "port": _port,
    "max_body_bytes": _bytes,
    "max_header_bytes": _bytes,
    "header_timeout": _some_seconds,
    "body_timeout": _some_seconds,
    "keep_alive_timeout": _some_seconds,
    "write_timeout": _some_seconds,
    "shutdown_timeout": _seconds,
    "shutdown_delay": _seconds,
    "environment": _flag,
    "local": _flag,
    "preload": _names,
}

_NO_AUTH = "is not supported here, and without it everybody could ask; remove it, and use api_key"
_LATER = "is not supported yet; remove it"
_GENERAL_REFUSED = {
    "custom_auth": _NO_AUTH,
    "enable_jwt_auth": _NO_AUTH,
    "litellm_jwtauth": _NO_AUTH,
    "enable_oauth2_auth": _NO_AUTH,
    "allowed_ips": _NO_AUTH,
    "pass_through_endpoints": _LATER,
    "max_parallel_requests": "is max_concurrent_requests under 'settings' here",
    "global_max_parallel_requests": "is max_concurrent_requests under 'settings' here",
}
_GENERAL_IGNORED = dict.fromkeys(
    [
        "alerting",
        "alerting_threshold",
        "background_health_checks",
        "database_connection_pool_limit",
        "database_url",
        "disable_spend_logs",
        "health_check_interval",
        "proxy_batch_write_at",
        "store_model_in_db",
        "use_redis_transaction_buffer",
    ],
    "is LiteLLM's and has no effect here",
)
_LITELLM_REFUSED = dict.fromkeys(
    [
        "fallbacks",
        "default_fallbacks",
        "context_window_fallbacks",
        "content_policy_fallbacks",
        "guardrails",
        "max_budget",
        "default_internal_user_params",
        "upperbound_key_generate_params",
    ],
    _LATER,
)
_LITELLM_IGNORED = dict.fromkeys(
    [
        "allowed_fails",
        "cache",
        "cache_params",
        "callbacks",
        "cooldown_time",
        "drop_params",
        "failure_callback",
        "force_ipv4",
        "json_logs",
        "modify_params",
        "redact_user_api_key_info",
        "set_verbose",
        "success_callback",
        "telemetry",
        "turn_off_message_logging",
    ],
    "is LiteLLM's and has no effect here",
)


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
    if (field := top.take("settings")) is not None and (section := field.section()) is not None:
        settings = read_settings(section)
    if (field := top.take("gateway")) is not None and (section := field.section()) is not None:
        keys += _keys(section.take("api_key", "api_keys"))
        _own_fields(section, fields)
        section.finish()
    if (field := top.take("general_settings")) is not None and (section := field.section()) is not None:
        keys += _keys(section.take("master_key"))
        section.finish(_GENERAL_REFUSED, _GENERAL_IGNORED)
    if (field := top.take("litellm_settings")) is not None and (section := field.section()) is not None:
        settings = {**_litellm_settings(section), **settings}
    if (field := top.take("router_settings")) is not None:
        field.warn("has no effect: there is no router here yet, and each name has one target")
    models = top.take("model_list")
    backends = top.take("backends")
    fields["models"], wildcards = read_models(models) if models is not None else ((), ())
    fields["backends"] = (*wildcards, *(read_backends(backends) if backends is not None else ()))
    if models is not None or backends is not None:
        # Whoever lists what is served means that list.
        fields.setdefault("environment", False)
        fields.setdefault("local", False)
    if keys:
        fields["api_keys"] = tuple(keys)
    fields["settings"] = settings
    top.finish({"environment_variables": "is not read here; export the variables, or write them into .env"})
    return fields


def _own_fields(section: Section, fields: dict[str, Any]) -> None:
    for name, check in _FIELDS.items():
        field = section.take(name)
        if field is not None:
            value = field.checked(check)
            if value is not None:
                fields[name] = value


def _keys(field: Field | None) -> list[GatewayKey]:
    if field is None:
        return []
    return [GatewayKey(*found) for item in field.items() if (found := item.secret()) is not None]


def _litellm_settings(section: Section) -> dict[str, Any]:
    found = read_settings(section, {"request_timeout": "total_timeout", "num_retries": "max_retries"}, only=True)
    section.finish(_LITELLM_REFUSED, _LITELLM_IGNORED)
    return found


def _from_environment(environ: Mapping[str, str], fields: dict[str, Any], problems: Problems) -> None:
    for name, check in _FIELDS.items():
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
        elif name in _FIELDS:
            _set(fields, name, _FIELDS[name], value, name, problems)
        else:
            raise ConfigurationError(f"a gateway has no field {name!r}; it has: {', '.join(_FIELDS)}, api_key")


def _set(
    fields: dict[str, Any], name: str, check: Callable[[Any], Any], value: Any, where: str, problems: Problems
) -> None:
    try:
        fields[name] = check(value)
    except ValueError as error:
        problems.error(None, where, str(error))
