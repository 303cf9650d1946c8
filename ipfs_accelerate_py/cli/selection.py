"""Which backend, with which address and key: the options that say so, and what holds where they say nothing."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from ipfs_accelerate_py.cli.helping import option
from ipfs_accelerate_py.errors import ConfigurationError, MissingCredential, UnknownBackend

__all__ = [
    "BACKEND_VARIABLE",
    "MODEL_VARIABLE",
    "Connection",
    "choose_backend",
    "choose_target",
    "connection_options",
    "default_setting",
    "key_options",
    "named_model",
    "shown_address",
    "split_model",
    "utf8",
]

F = TypeVar("F", bound=Callable[..., Any])

BACKEND_VARIABLE = "IPFS_ACCELERATE_BACKEND"
MODEL_VARIABLE = "IPFS_ACCELERATE_MODEL"


@dataclass(frozen=True)
class Connection:
    """What the options of `connection_options` say.

    Attributes:
        api_key: the key by its name, or None where the usual places are to be searched.
        settings: settings of the client.
        timeout: seconds for each call, or None for the client's own default.
    """

    backend: str | None = None
    base_url: str | None = None
    api_key: Mapping[str, str] | None = field(default=None, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None

    def arguments(self) -> dict[str, Any]:
        """Arguments for `Client` and `AsyncClient` beside the backend."""
        return {"base_url": self.base_url, "api_key": self.api_key, **self.settings}

    def per_call(self) -> dict[str, Any]:
        """Options for each call."""
        return {} if self.timeout is None else {"timeout": self.timeout}


def key_options(section: str, what: str) -> Callable[[F], F]:
    """Add ``--api-key-env`` and ``--api-key-file``; the command gets ``api_key``, by its name, or None.

    There is no option for the key itself: every user of the machine can read the list of processes.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)  # its options as well: click keeps them in the function's attributes
        def command(api_key_env: str | None, api_key_file: str | None, **rest: Any) -> Any:
            if api_key_env is not None and api_key_file is not None:
                raise click.UsageError("--api-key-env and --api-key-file exclude each other")
            key = None
            if api_key_env is not None:
                key = {api_key_env: _key_from_environment(api_key_env)}
            elif api_key_file is not None:
                key = {"file": _key_from_file(api_key_file)}
            return function(api_key=key, **rest)

        made: Any = command
        made = option(
            "--api-key-file",
            metavar="FILE",
            section=section,
            help="File that holds the key; <(command) works. There is no option for the key itself: other users of "
            "this machine could read it in the list of processes.",
        )(made)
        made = option(
            "--api-key-env", metavar="NAME", section=section, help=f"Environment variable that holds {what}."
        )(made)
        typed: F = made
        return typed

    return decorate


def connection_options(*, timeout: float | None = None, retries: int | None = None) -> Callable[[F], F]:
    """Add the options of a `Connection`; the command gets it as its argument ``connection``."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(
            backend: str | None,
            base_url: str | None,
            api_key: Mapping[str, str] | None,
            timeout: float | None,
            retries: int | None,
            **rest: Any,
        ) -> Any:
            settings = {} if retries is None else {"max_retries": retries}
            return function(connection=Connection(backend, base_url, api_key, settings, timeout), **rest)

        made: Any = command
        for add in reversed(_connection_flags(timeout, retries)):
            made = add(made)
        typed: F = made
        return typed

    return decorate


def _connection_flags(timeout: float | None, retries: int | None) -> list[Callable[[Any], Any]]:
    section = "Backend"
    return [
        option("--backend", metavar="NAME", section=section, help=f"Backend to ask.  [default: {_DEFAULT_BACKEND}]"),
        option(
            "--base-url",
            metavar="URL",
            section=section,
            help="Where the service is. Alone, without a backend, it means a server of your own that speaks OpenAI's "
            "format (the backend llvm).  [default: the configured one, else the service's own]",
        ),
        key_options(section, "the key"),
        option(
            "--timeout",
            metavar="SECONDS",
            type=click.FloatRange(min=0, min_open=True),
            section=section,
            default=timeout,
            help="Limit for each call, waiting and retries included."
            + ("" if timeout is not None else "  [default: 600]"),
        ),
        option(
            "--retries",
            metavar="N",
            type=click.IntRange(min=0),
            section=section,
            default=retries,
            help="How often a failed call is made again." + ("" if retries is not None else "  [default: 5]"),
        ),
    ]


_DEFAULT_BACKEND = f"the model's prefix, else {BACKEND_VARIABLE}, else the only one configured"


# --- choosing ----------------------------------------------------------------------------------------------------


def default_setting(name: str) -> str | None:
    """A default of the command line from the environment, .env or the credentials file."""
    from ipfs_accelerate_py.credentials import Credentials

    return Credentials().value(None, (), (name,))


def named_model(model: str | None) -> str | None:
    """The value of ``-m``, which must not be an empty text (as of a shell variable that is not set)."""
    if model is not None and not utf8(model, "the model").strip():
        raise click.UsageError("the model's name (-m) is empty")
    return model


def split_model(model: str) -> tuple[str | None, str]:
    """``provider/model`` as backend and model; None where what stands before the slash is no backend's name."""
    from ipfs_accelerate_py.backends import find_backend

    prefix, slash, rest = model.partition("/")
    if slash and prefix and rest:
        try:
            return find_backend(prefix).name, rest
        except UnknownBackend:
            pass  # a model with a slash in its name
    return None, model


def choose_target(model: str, connection: Connection) -> tuple[str, str]:
    """Backend and model. A backend that was named leaves the model's name as it is, slash and all."""
    if connection.backend is None:
        prefix, rest = split_model(model)
        if prefix is not None:
            return prefix, rest
    return choose_backend(connection), model


def choose_backend(connection: Connection) -> str:
    """The backend that was named, else the default one.

    Raises `UnknownBackend`, or `ConfigurationError` that says how to name one where there is no default.
    """
    from ipfs_accelerate_py.backends import configured, find_backend

    if connection.backend is not None:
        return find_backend(connection.backend).name
    named = default_setting(BACKEND_VARIABLE)
    if named is not None:
        try:
            return find_backend(named).name
        except UnknownBackend as error:
            raise UnknownBackend(f"{BACKEND_VARIABLE}: {error.message}") from None
    if connection.base_url is not None:
        return "llvm"  # needs no key and, above all, sends no other service's key to this address
    found = [spec.name for spec in configured()]
    if len(found) == 1:
        return found[0]
    how = f"name one with -m BACKEND/MODEL or --backend, or set {BACKEND_VARIABLE}"
    if found:
        raise ConfigurationError(f"several backends are configured ({', '.join(found)}): {how}")
    raise ConfigurationError(
        f"no backend is configured: set a key or an address ({', '.join(_settable())}) in the environment or .env, or "
        f"{how}"
    )


def _settable() -> list[str]:
    """The variable that configures each backend."""
    from ipfs_accelerate_py.backends import backend_names, find_backend

    rows = [find_backend(name) for name in backend_names()]
    names = [row.key_env if row.requires_key else row.url_env for row in rows if not (row.in_process or row.store)]
    return [each[0] for each in names if each]


def shown_address(url: str) -> str:
    """The URL without what may be secret in it: user, password, query; ``this process`` where there is none."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if url else "this process"


# --- keys --------------------------------------------------------------------------------------------------------


def _key_from_environment(name: str) -> str:
    """The key in this variable. Raises `MissingCredential` where it is not set."""
    from ipfs_accelerate_py.credentials import make_secret

    value = make_secret(os.environ.get(name, ""), name).reveal()
    if not value:
        raise MissingCredential(f"the environment variable {name} (--api-key-env) is not set")
    return value


def _key_from_file(path: str) -> str:
    from ipfs_accelerate_py.credentials import make_secret

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(64 * 1024)
    except OSError as error:
        raise ConfigurationError(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the key file {path} is not text") from None
    value = make_secret(text, f"the key file {path}").reveal()
    if not value:
        raise MissingCredential(f"the key file {path} is empty")
    return value


def utf8(text: str, what: str) -> str:
    """``text``, which came from the command line: bytes there that are no UTF-8 cannot be sent as JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.UsageError(f"{what} is not valid UTF-8") from None
    return text
