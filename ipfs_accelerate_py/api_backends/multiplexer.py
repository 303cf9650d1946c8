"""`ApiKeyMultiplexer`: several keys for each of several services.

The keys of a service are one pool, and every object it gives is a view of that pool: limits hold across all of them, a
refused key is put aside for all of them, and a call that met one goes on with another key by itself.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.api_backends.books import key_stats
from ipfs_accelerate_py.errors import ConfigurationError

if TYPE_CHECKING:
    from ipfs_accelerate_py.api_backends.claude_backend import claude
    from ipfs_accelerate_py.api_backends.gemini_backend import gemini
    from ipfs_accelerate_py.api_backends.groq_backend import groq
    from ipfs_accelerate_py.api_backends.hf_tei_backend import hf_tei
    from ipfs_accelerate_py.api_backends.hf_tgi_backend import hf_tgi
    from ipfs_accelerate_py.api_backends.opea_backend import opea
    from ipfs_accelerate_py.api_backends.openai_backend import openai_api

__all__ = ["ApiKeyMultiplexer"]

#: By provider: the module and name of its class. Imported when it is first asked for.
_CLASSES = {
    "openai": ("openai_backend", "openai_api"),
    "groq": ("groq_backend", "groq"),
    "claude": ("claude_backend", "claude"),
    "gemini": ("gemini_backend", "gemini"),
    "hf_tgi": ("hf_tgi_backend", "hf_tgi"),
    "hf_tei": ("hf_tei_backend", "hf_tei"),
    "opea": ("opea_backend", "opea"),
}
SPECIFIC = "specific"
STRATEGIES = (SPECIFIC, "round-robin", "least-loaded")


class ApiKeyMultiplexer:
    """Several keys for each of several services.

    ::

        multiplexer = ApiKeyMultiplexer()
        multiplexer.add_openai_key("key1", "sk-...")
        multiplexer.add_openai_key("key2", "sk-...", max_concurrent=10)
        client = multiplexer.get_openai_client(strategy="least-loaded")
        client.chat("gpt-4o", "Hello")["text"]

    ``add_<provider>_key`` adds a key, or replaces the one of that name; ``max_concurrent`` is how many requests it
    serves at once. ``get_<provider>_client`` gives an object of the service's class:

    - with a ``key_name`` (or ``strategy="specific"``), one whose calls use that key and no other;
    - with ``"round-robin"``, one whose calls each use the key that was used longest ago;
    - with ``"least-loaded"``, one whose calls each use the key with the fewest requests under way.

    With the last two, a call whose key is refused or exhausted goes on with another one by itself. All objects of a
    provider share one queue, one breaker and one pool of keys, which may be used from any number of threads; settings
    are the pool's, whichever object they are set on.

    Where no key was added by hand, those of the metadata and the environment (``OPENAI_API_KEY_1``, ...) are the pool.

    Args:
        resources: taken for the older callers' sake, and not used.
        metadata: keys and URLs by the older API's names, for the classes.
        settings: what each class is made with.
    """

    def __init__(
        self, resources: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        self._metadata = dict(metadata or {})
        self._settings = settings
        self._lock = threading.Lock()
        self._pools: dict[str, _Pool] = {}

    def get_usage_stats(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By provider and name of key: ``usage`` (requests), ``current_requests``, ``queue_size`` (of the pool: whoever
        waits there may get any key), and ``failures``, ``tokens``, ``quarantined``, ``available_in`` (seconds); where
        there are prices (the extra ``[prices]``), ``cost`` in US dollars."""
        with self._lock:
            pools = dict(self._pools)
        return {provider: pools[provider].stats() if provider in pools else {} for provider in _CLASSES}

    def close(self) -> None:
        """Close the connections. The objects may be used again, and then open new ones."""
        with self._lock:
            pools = list(self._pools.values())
        for pool in pools:
            pool.face.close()

    def __enter__(self) -> ApiKeyMultiplexer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- providers -----------------------------------------------------------------------------------------------

    def add_openai_key(self, name: str, key: str, max_concurrent: int = 5) -> None:
        self._add("openai", name, key, max_concurrent)

    def get_openai_client(self, key_name: str | None = None, strategy: str = "round-robin") -> openai_api:
        client: openai_api = self._get("openai", key_name, strategy)
        return client

    def add_groq_key(self, name: str, key: str, max_concurrent: int = 5) -> None:
        self._add("groq", name, key, max_concurrent)

    def get_groq_client(self, key_name: str | None = None, strategy: str = "round-robin") -> groq:
        client: groq = self._get("groq", key_name, strategy)
        return client

    def add_claude_key(self, name: str, key: str, max_concurrent: int = 5) -> None:
        self._add("claude", name, key, max_concurrent)

    def get_claude_client(self, key_name: str | None = None, strategy: str = "round-robin") -> claude:
        client: claude = self._get("claude", key_name, strategy)
        return client

    def add_gemini_key(self, name: str, key: str, max_concurrent: int = 5) -> None:
        self._add("gemini", name, key, max_concurrent)

    def get_gemini_client(self, key_name: str | None = None, strategy: str = "round-robin") -> gemini:
        client: gemini = self._get("gemini", key_name, strategy)
        return client

    def add_hf_tgi_key(self, name: str, key: str, max_concurrent: int = 5) -> None:
        self._add("hf_tgi", name, key, max_concurrent)

    def get_hf_tgi_client(self, key_name: str | None = None, strategy: str = "round-robin") -> hf_tgi:
        client: hf_tgi = self._get("hf_tgi", key_name, strategy)
        return client

    def add_hf_tei_key(self, name: str, key: str, max_concurrent: int = 5) -> None:
        self._add("hf_tei", name, key, max_concurrent)

    def get_hf_tei_client(self, key_name: str | None = None, strategy: str = "round-robin") -> hf_tei:
        client: hf_tei = self._get("hf_tei", key_name, strategy)
        return client

    def add_opea_key(self, name: str, key: str, max_concurrent: int = 5) -> None:
        self._add("opea", name, key, max_concurrent)

    def get_opea_client(self, key_name: str | None = None, strategy: str = "round-robin") -> opea:
        client: opea = self._get("opea", key_name, strategy)
        return client

    # --- what they are made of -----------------------------------------------------------------------------------

    def _add(self, provider: str, name: str, key: str, max_concurrent: int) -> None:
        if isinstance(max_concurrent, bool) or not isinstance(max_concurrent, int) or max_concurrent < 1:
            raise ConfigurationError(f"max_concurrent must be a whole number of at least 1, not {max_concurrent!r}")
        if not isinstance(key, str) or not key.strip():
            raise ConfigurationError(f"the key {name!r} has no value")
        with self._lock:
            pool = self._pools.get(provider)
            if pool is None or not pool.by_hand:
                pool = _Pool(self._face(provider, api_key={}), by_hand=True)
            pool.add(name, key, max_concurrent)
            self._pools[provider] = pool  # not before: a key that was refused leaves nothing behind

    def _get(self, provider: str, key_name: str | None, strategy: str) -> Any:
        if strategy not in STRATEGIES:
            raise ConfigurationError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
        if strategy == SPECIFIC and key_name is None:
            raise ConfigurationError('strategy="specific" needs a key_name')
        with self._lock:
            pool = self._pools.get(provider)
            if pool is None:
                pool = _Pool(self._face(provider, api_key=None), by_hand=False)
                if not pool.names():
                    raise ConfigurationError(
                        f"no {provider} API keys have been added: call add_{provider}_key(name, key) first"
                    )
                self._pools[provider] = pool
        return pool.view(key_name, strategy)

    def _face(self, provider: str, api_key: Mapping[str, str] | None) -> ApiBackend:
        module, name = _CLASSES[provider]
        kind: Callable[..., ApiBackend] = getattr(import_module(f"ipfs_accelerate_py.api_backends.{module}"), name)
        return kind(metadata=self._metadata, api_key=api_key, **self._settings)


class _Pool:
    """The keys of one provider, behind one object of its class."""

    def __init__(self, face: ApiBackend, *, by_hand: bool) -> None:
        self.face = face
        self.by_hand = by_hand
        self._limits: dict[str, int] = dict.fromkeys(self.names(), face.max_concurrent_requests)
        self._let_in_as_many()

    def names(self) -> list[str]:
        return self.face._client.api_key_names

    def add(self, name: str, key: str, max_concurrent: int) -> None:
        self.face.add_api_key(name, key, max_concurrent)
        self._limits[name] = max_concurrent
        self._let_in_as_many()

    def _let_in_as_many(self) -> None:
        # The keys' own limits are what counts: the pool lets in what they serve together.
        if self._limits:
            self.face.max_concurrent_requests = sum(self._limits.values())

    def view(self, key_name: str | None, strategy: str) -> ApiBackend:
        known = self.names()
        if key_name is not None and key_name not in known:
            raise ConfigurationError(f"there is no key named {key_name!r}; the keys are: {', '.join(known)}")
        view = copy.copy(self.face)
        chosen = None if key_name is not None else strategy
        view._client = self.face._client.bound(api_key_name=key_name, key_selection_strategy=chosen)
        return view

    def stats(self) -> dict[str, dict[str, Any]]:
        state = self.face._client.snapshot()
        keys = key_stats(self.face._client)
        known = self.names()
        return {
            name: {
                "usage": key["requests"],
                "queue_size": state["queue"]["queued"],
                "current_requests": key["active"],
                "failures": key["failures"],
                "tokens": key["tokens"],
                "quarantined": key["quarantined"],
                "available_in": key["available_in"],
                **({"cost": key["cost"]} if "cost" in key else {}),
            }
            for name, key in keys.items()
            if name in known
        }
