"""Backends: spec rows, and the opening of one with its pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.backends.http import HttpBackend
from ipfs_accelerate_py.backends.rows import ROWS
from ipfs_accelerate_py.backends.spec import (
    BackendSpec,
    Option,
    Service,
    backend_names,
    find_backend,
    register_backend,
)
from ipfs_accelerate_py.credentials import Credential, Credentials, Secret, make_secret
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.pipeline import Pipeline
from ipfs_accelerate_py.pipeline.keys import KeyPool
from ipfs_accelerate_py.pipeline.stack import PolicyMaker
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.transport import HttpTransport, Transport
from ipfs_accelerate_py.types import Call, Handler, Reply

if TYPE_CHECKING:
    from ipfs_accelerate_py.backends.local import LocalBackend

__all__ = [
    "Backend",
    "BackendSpec",
    "Option",
    "Service",
    "backend_names",
    "configured",
    "find_backend",
    "open_backend",
    "register_backend",
]


for _row in ROWS:
    register_backend(_row)


class Backend:
    """One backend, opened: its row, settings, keys, pipeline and connections."""

    def __init__(
        self,
        spec: BackendSpec,
        settings: Settings,
        keys: list[Credential],
        base_url: str,
        *,
        options: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        deferred: ConfigurationError | None = None,
    ) -> None:
        self.spec = spec
        self.settings = settings
        self.base_url = base_url
        #: What the row's `Option`s came to.
        self.options: dict[str, Any] = dict(options or {})
        self._keys: dict[str, tuple[Secret, int | None]] = {key.name: (key.secret, None) for key in keys}
        self._headers = headers
        self._transport = transport
        self._deferred = deferred
        self.pipeline: Pipeline
        self._build({})

    def _build(self, makers: dict[str, PolicyMaker]) -> None:
        spec = self.spec
        missing = ""
        if spec.needs_key(self.base_url, self.options):
            missing = (
                f"Authentication error: no key for {spec.name!r}; set {' or '.join(spec.key_env)} in the environment "
                "or in .env, or pass api_key"
            )
        handler: Handler
        self.service = spec.service(spec, self.base_url, self.options) if spec.service is not None else None
        pool = KeyPool(self.settings, missing=missing, remote=self.service is None)
        for name, (secret, most) in self._keys.items():
            pool.add(name, secret, most)
        self.http: HttpBackend | None = None
        self.transport: Transport | None = None
        if self.service is not None:
            handler = self.service
            if (bind := getattr(self.service, "bind", None)) is not None:
                bind(self.settings)  # a service with waits of its own reads their limits live
        else:
            self.transport = self._transport or HttpTransport(max_header_bytes=self.settings.max_header_bytes)
            handler = self.http = HttpBackend(
                spec,
                spec.dialect(self.base_url, self.options),
                self.transport,
                self.base_url,
                self.settings,
                self._headers,
                self.options,
            )
        self.pipeline = Pipeline(handler, self.settings, pool, makers)

    async def __call__(self, call: Call) -> Reply:
        if self._deferred is not None:
            raise self._deferred
        return await self.pipeline(call)

    @property
    def local(self) -> LocalBackend | None:
        """The handler of models in this process, where that is what this backend is."""
        from ipfs_accelerate_py.backends.local import LocalBackend

        return self.service if isinstance(self.service, LocalBackend) else None

    @property
    def dialect_name(self) -> str | None:
        """The wire format's name, for passthrough; None for a backend in this process."""
        return None if self.http is None else self.http.dialect.name

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Headers sent with each request beside the row's own."""
        return self._headers

    def key_values(self) -> dict[str, str]:
        """The keys by name, with their values: for opening a twin, and for nothing that prints."""
        return {name: secret.reveal() for name, (secret, _) in self._keys.items()}

    def add_key(self, name: str, key: str, max_concurrent: int | None = None) -> None:
        if self.service is not None:
            why = "runs in this process and takes no key" if self.spec.in_process else "has no pool of keys"
            raise UnsupportedOperation(f"the backend {self.spec.name!r} {why}")
        secret = make_secret(key, f"the key {name!r}")
        self.pipeline.keys.add(name, secret, max_concurrent)
        self._keys[name] = (secret, max_concurrent)

    def remove_key(self, name: str) -> None:
        self.pipeline.keys.remove(name)
        del self._keys[name]

    def snapshot(self) -> dict[str, Any]:
        state = {"backend": self.spec.name, "base_url": self.base_url, **self.pipeline.snapshot()}
        if self.http is not None:
            state["usage"]["skipped_events"] = self.http.skipped_events
        if self.service is not None:
            state.update(self.service.snapshot())
        return state

    def renew(self) -> None:
        """Start with fresh state: in a forked child, what the parent had in flight is not ours to wait for."""
        if isinstance(self.transport, HttpTransport):
            self.transport.forget()
        self.settings.forget_watchers()
        usage = self.pipeline.usage
        self._build(self.pipeline.front.makers)
        self.pipeline.usage.observers, self.pipeline.usage.pricer = usage.observers, usage.pricer

    def warm_up(self) -> None:
        """Import now what the first call would import: for who wants to answer the first one as fast as the second."""
        if isinstance(self.transport, HttpTransport):
            self.transport.warm_up()

    async def aclose(self) -> None:
        if self.transport is not None:
            await self.transport.aclose()
        if self.service is not None:
            await self.service.aclose()


def open_backend(
    name: str,
    *,
    base_url: str | None = None,
    api_key: str | Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    transport: Transport | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Backend:
    """Find the row, resolve URL and keys, and put the pipeline in front.

    Wrong names and settings are refused here; trouble with credentials is kept for the first call.
    """
    spec = find_backend(name)
    names = {option.name for option in spec.options}
    given = dict(settings or {})
    told = {name: given.pop(name) for name in names & given.keys()}
    made = Settings()
    made.update(spec.defaults)
    made.update(given)
    options = {option.name: told.get(option.name, option.default) for option in spec.options}
    for option in spec.options:
        if option.secret and isinstance(options[option.name], str):
            options[option.name] = Secret(options[option.name])  # checked below, and never left as it was given
    if api_key and spec.service is not None and not (spec.in_process or spec.key_metadata):
        raise UnsupportedOperation(
            f"the backend {spec.name!r} has no pool of keys; its credentials are the options "
            f"{', '.join(option.name for option in spec.options if option.secret)}"
        )
    deferred: ConfigurationError | None = None
    keys: list[Credential] = []
    url = base_url or spec.base_url
    if isinstance(api_key, Mapping):
        keys = [Credential(key, make_secret(value, f"the key {key!r}"), "explicit") for key, value in api_key.items()]
    try:
        places = Credentials(metadata)
        url = places.value(base_url, spec.url_metadata, spec.url_env) or spec.base_url
        for option in spec.options:
            if option.name not in told and (found := places.value(None, option.metadata, option.env)) is not None:
                options[option.name] = found
            if option.secret and options[option.name] is not None:
                options[option.name] = make_secret(options[option.name], f"the option {option.name!r}")
        if not isinstance(api_key, Mapping):
            keys = places.keys(api_key, spec.key_metadata, spec.key_env)
    except ConfigurationError as error:
        deferred = error
    url = spec.normalize_url(url)
    return Backend(spec, made, keys, url, options=options, headers=headers, transport=transport, deferred=deferred)


def configured(metadata: Mapping[str, Any] | None = None) -> list[BackendSpec]:
    """The rows for which a key or a URL is found, in order of name; what runs in this process is not among them."""
    places = Credentials(metadata)
    found = []
    for name in backend_names():
        spec = find_backend(name)
        if spec.in_process or spec.store:
            continue
        has_key = bool(places.keys(None, spec.key_metadata, spec.key_env))
        url = places.value(None, spec.url_metadata, spec.url_env)
        if has_key or (url is not None and not spec.needs_key(url, {})):
            found.append(spec)
    return found
