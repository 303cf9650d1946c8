"""What the classes of the older API share: queue, priorities, backoff, breaker, keys, endpoints, usage, request ids.

A class is a thin face over `Client`, and an *endpoint* is one more client of the same service, with a queue, breaker,
keys and books of its own. All of that is kept on the portal's loop, so there are no locks here, and every method may be
called from any thread.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

from ipfs_accelerate_py.api_backends.batching import EmbeddingBatching
from ipfs_accelerate_py.api_backends.books import key_stats, track_costs, usage_stats
from ipfs_accelerate_py.api_backends.caching import SemanticCaching
from ipfs_accelerate_py.api_backends.results import CircuitState
from ipfs_accelerate_py.api_backends.tickets import HandlerResult, Pending, Ticket
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.live import Live, LiveSettings
from ipfs_accelerate_py.sync import Client
from ipfs_accelerate_py.types import Priority, new_request_id

__all__ = ["ApiBackend"]

T = TypeVar("T")

_ALIASES = {"failure_threshold": "circuit_failure_threshold", "reset_timeout": "circuit_reset_timeout"}
#: What every call takes beside the options of the service.
_CALL_OPTIONS = frozenset(("priority", "request_id", "api_key_name", "timeout", "timeouts", "headers"))
_REQUEST_INFO = _CALL_OPTIONS | {"endpoint_url", "data", "method", "endpoint_id", "queue_entry_time"}


class ApiBackend(EmbeddingBatching, SemanticCaching, LiveSettings):
    """Base of the older API's classes.

    Args:
        resources: taken for the older callers' sake, and not used.
        metadata: keys and URLs by the older API's names; what is not there is looked for in the environment, ``.env``
            and ``~/.ipfs_api_credentials``.
        settings: any setting of `Settings` by name, ``failure_threshold`` and ``reset_timeout`` among them, and
            ``base_url``, ``api_key``, ``headers`` as `Client` takes them.

    Each setting is also a live attribute: a change takes effect at the next call. Every call takes ``priority``
    ("HIGH" or 0, "NORMAL" or 1, "LOW" or 2), ``request_id``, ``endpoint_id``, ``api_key_name`` and ``timeout``
    (seconds, queue and retries included). Constructing never fails for want of credentials: the first call that needs
    them does.

    Errors are those of `ipfs_accelerate_py.errors`. What the service refuses is also a ``ValueError``, whose message
    begins with "Authentication error" or "Rate limit" where it is one of these.
    """

    PRIORITY_HIGH: ClassVar[Priority] = Priority.HIGH
    PRIORITY_NORMAL: ClassVar[Priority] = Priority.NORMAL
    PRIORITY_LOW: ClassVar[Priority] = Priority.LOW

    #: The name of the service's row in `ipfs_accelerate_py.backends`.
    _service: ClassVar[str]

    failure_threshold: Live[int] = Live("circuit_failure_threshold")
    reset_timeout: Live[float] = Live("circuit_reset_timeout")

    def __init__(
        self,
        resources: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self._client = Client(self._service, metadata=metadata, **_without_aliases(settings))
        track_costs(self._client)
        self.settings = self._client.settings
        self._endpoints: dict[str, Client] = {}

    # --- requests ------------------------------------------------------------------------------------------------

    async def _make_post_request(
        self, client: AsyncClient, /, endpoint_url: str, data: Any = None, method: str = "POST", **options: Any
    ) -> Any:
        """Send ``data`` as JSON to a URL or path of the service, through queue, retries and breaker.

        ``endpoint_url`` is a path such as ``/chat/completions``, or a full URL on the service's own host: a key is sent
        nowhere else. Returns the service's decoded answer as it is.
        """
        _refuse_unknown(options, _CALL_OPTIONS, "make_post_request")
        _refuse_stream(data)
        return (await client.request(endpoint_url, data, method=method, **options)).raw

    make_post_request = blocking(_make_post_request)
    amake_post_request = awaitable(_make_post_request)

    def queue_with_priority(
        self, request_info: Mapping[str, Any], priority: Priority | int | str = Priority.NORMAL
    ) -> Ticket:
        """Queue a request and return at once, with its `Ticket`.

        ``request_info`` holds ``endpoint_url`` and ``data`` as `make_post_request` takes them, and optionally
        ``method``, ``request_id``, ``endpoint_id``, ``api_key_name``, ``timeout`` and ``headers``; ``queue_entry_time``
        is the caller's own note. What goes wrong later, a full queue among it, is in the ticket.
        """
        _refuse_unknown(request_info, _REQUEST_INFO, "request_info")
        options = {name: value for name, value in request_info.items() if name != "queue_entry_time"}
        if "endpoint_url" not in options:
            raise ConfigurationError('request_info needs an "endpoint_url"')
        _refuse_stream(options.get("data"))
        client = self._client_of(options.pop("endpoint_id", None))
        options["priority"] = Priority.parse(priority)
        options["request_id"] = options.get("request_id") or new_request_id()
        return Ticket(client.portal(), self._make_post_request, client.asynchronous, **options)

    # --- endpoints -----------------------------------------------------------------------------------------------

    def create_endpoint(self, api_key: str | Mapping[str, str] | None = None, **settings: Any) -> str:
        """Make an endpoint, and return its id for ``endpoint_id=``.

        It begins with the settings, headers, ``base_url`` and keys that this object has now, but for the settings, URL
        and keys given here, and has its own queue, breaker and books.
        """
        endpoint = self._client.twin(api_key=api_key, **_without_aliases(settings))
        track_costs(endpoint)
        if self._client.ledger is not None:
            endpoint.open_ledger(self._client.ledger, check=False)
        endpoint_id = f"endpoint_{random.getrandbits(48):012x}"
        self._endpoints[endpoint_id] = endpoint
        return endpoint_id

    def get_endpoint(self, endpoint_id: str) -> dict[str, Any]:
        """An endpoint's settings and state; of its keys, the names."""
        client = self._client_of(endpoint_id)
        state = client.snapshot()
        return {
            "id": endpoint_id,
            "base_url": client.base_url,
            "api_keys": client.api_key_names,
            "active_requests": state["queue"]["active"],
            "queued_requests": state["queue"]["queued"],
            "circuit_state": CircuitState(state["circuit"]["state"]),
            **client.settings.as_dict(),
        }

    def update_endpoint(self, endpoint_id: str, api_key: str | None = None, **settings: Any) -> dict[str, Any]:
        """Change settings of an endpoint, all or none of them, and return it as `get_endpoint` does.

        ``api_key`` takes the place of every key it had. Its ``base_url`` cannot be changed: that is another endpoint.
        """
        client = self._client_of(endpoint_id)
        client.portal().run(client.settings.update, _without_aliases(settings))
        if api_key is not None:
            client.portal().run(_replace_keys, client.asynchronous, api_key)
        return self.get_endpoint(endpoint_id)

    # --- keys ----------------------------------------------------------------------------------------------------

    def add_api_key(
        self, name: str, key: str, max_concurrent: int | None = None, *, endpoint_id: str | None = None
    ) -> None:
        """Add a key to the pool, or replace the one of that name; ``key_selection_strategy`` says how calls choose.

        ``max_concurrent`` limits the requests that this key serves at once; None is no limit of its own.
        """
        self._client_of(endpoint_id).add_api_key(name, key, max_concurrent)

    def remove_api_key(self, name: str, *, endpoint_id: str | None = None) -> None:
        """Take a key out of the pool; calls that use it right now finish."""
        self._client_of(endpoint_id).remove_api_key(name)

    def get_key_usage_stats(self, endpoint_id: str | None = None) -> dict[str, dict[str, Any]]:
        """By name of key: ``requests``, ``failures``, ``tokens``, ``active``, and whether and why it is in quarantine.

        Calls sent without a key stand under ``none``. ``cost`` is US dollars, of the calls whose price is known; it is
        there only where there are prices (see `get_usage_stats`).
        """
        return key_stats(self._client_of(endpoint_id))

    # --- books ---------------------------------------------------------------------------------------------------

    def get_usage_stats(self, endpoint_id: str | None = None) -> dict[str, Any]:
        """``total_requests``, ``successful_requests``, ``failed_requests``, ``total_tokens`` and more, also by model.

        Without ``endpoint_id``, of the calls that named none: each endpoint has its own books.
        ``estimated_cost_usd`` is what they cost by the prices of genai-prices (the extra ``[prices]``): of the calls
        whose price is known, and ``unpriced_requests`` says how many others there are. Where it is not installed, or
        no price of theirs is known, there is no such figure, rather than a wrong one. Where a ledger is open
        (`open_ledger`), ``ledger`` has what it knows of this service, whenever and by whomever it was asked.
        """
        return usage_stats(self._client_of(endpoint_id))

    def open_ledger(self, where: str | os.PathLike[str] | None = None, **options: Any) -> None:
        """Write every call of this object and of its endpoints into a database; see `Client.open_ledger`."""
        from ipfs_accelerate_py.ledger import Ledger

        ledger = self._client.open_ledger(where, **options)
        assert isinstance(ledger, Ledger)
        for endpoint in self._endpoints.values():
            endpoint.open_ledger(ledger, check=False)

    def close_ledger(self) -> None:
        """Write what is left, and keep no more books."""
        for client in (*self._endpoints.values(), self._client):
            client.close_ledger()

    def generate_report(self, format: str = "dict", endpoint_id: str | None = None) -> Any:
        """What happened so far: calls, failures by kind, latencies, queue, breaker, keys, caches, batches, costs.

        ``format`` is "dict" for plain data, or "markdown" or "html" for people. What is not enabled is named as such.
        """
        return self._client_of(endpoint_id).report(format)

    def reset_usage_stats(self, endpoint_id: str | None = None) -> None:
        """Start the usage statistics again from zero."""
        self._client_of(endpoint_id).reset_usage()

    def get_queue_info(self, endpoint_id: str | None = None) -> dict[str, Any]:
        """``size`` (requests waiting) and ``capacity`` (how many may), ``active_requests`` and their limit."""
        queue = self._client_of(endpoint_id).snapshot()["queue"]
        return {
            "size": queue["queued"],
            "active_requests": queue["active"],
            "capacity": queue["queue_size"],
            "max_concurrent_requests": queue["capacity"],
        }

    def get_queue_status(self, endpoint_id: str | None = None) -> dict[str, int]:
        """Requests waiting, by priority: ``high_priority``, ``normal_priority``, ``low_priority``."""
        waiting = self._client_of(endpoint_id).snapshot()["queue"]["queued_by_priority"]
        return {f"{priority.name.lower()}_priority": waiting[priority.name] for priority in Priority}

    @property
    def active_requests(self) -> int:
        """Calls that hold a slot right now, endpoints not counted."""
        return self._client.active_requests

    current_requests = active_requests

    # --- breaker -------------------------------------------------------------------------------------------------

    @property
    def circuit_state(self) -> CircuitState:
        """``CLOSED``, ``OPEN`` or ``HALF-OPEN`` (equal to ``HALF_OPEN``)."""
        return CircuitState(self._client.circuit_state)

    def get_circuit_state(self, endpoint_id: str | None = None) -> CircuitState:
        """`circuit_state`, of an endpoint too."""
        return CircuitState(self._client_of(endpoint_id).circuit_state)

    def get_circuit_metrics(self, endpoint_id: str | None = None) -> dict[str, Any]:
        """The last minute's ``recent_failures`` and ``failure_rate`` (percent), ``consecutive_failures``, ``state``."""
        metrics: dict[str, Any] = self._client_of(endpoint_id).snapshot()["circuit"]
        return {**metrics, "state": CircuitState(metrics["state"])}

    # --- life ----------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._client.base_url

    def close(self) -> None:
        """Close the connections, of the endpoints too. The object may be used again, and then opens new ones."""
        for client in (self._client, *self._endpoints.values()):
            client.close()

    async def aclose(self) -> None:
        """The awaitable twin of `close`."""
        for client in (self._client, *self._endpoints.values()):
            await Pending(client.portal(), client.asynchronous.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- for the classes -----------------------------------------------------------------------------------------

    def _set(self, name: str, value: Any) -> None:
        setattr(self._client, name, value)  # by way of the portal: the queue that a new limit wakes lives there

    def _client_of(self, endpoint_id: Any) -> Client:
        if endpoint_id is None:
            return self._client
        found = self._endpoints.get(endpoint_id)
        if found is None:
            known = ", ".join(self._endpoints) or "(none)"
            raise ConfigurationError(f"there is no endpoint {endpoint_id!r}; the endpoints are: {known}")
        return found

    def _call(self, verb: Callable[..., Awaitable[T]], *args: Any, endpoint_id: Any = None, **options: Any) -> T:
        """Run a verb on the loop that owns the client's state, and wait for it here."""
        client = self._client_of(endpoint_id)
        return client.portal().call(verb, self, client.asynchronous, *args, **options)

    def _begin(
        self, verb: Callable[..., Awaitable[T]], *args: Any, endpoint_id: Any = None, **options: Any
    ) -> Pending[T]:
        """Run a verb on that loop, and give a future of it."""
        client = self._client_of(endpoint_id)
        return Pending(client.portal(), verb, self, client.asynchronous, *args, **options)

    def _handler(self, verb: Callable[..., Awaitable[dict[str, Any]]], **given: Any) -> Callable[..., HandlerResult]:
        def handler(prompt: str | Sequence[dict[str, Any]], **options: Any) -> HandlerResult:
            """Answer a text or a list of messages; options as ``chat`` takes them."""
            return HandlerResult(self._begin(verb, prompt, **{**given, **options}))

        return handler


def _without_aliases(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {_ALIASES.get(name, name): value for name, value in settings.items()}


def _refuse_unknown(given: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(f"{where} has no {unknown[0]!r}; it takes: {', '.join(sorted(known))}")


def _refuse_stream(data: Any) -> None:
    if isinstance(data, Mapping) and data.get("stream"):
        raise ConfigurationError("make_post_request gives whole answers; for a streaming one use stream_chat")


def _replace_keys(client: AsyncClient, key: str) -> None:
    for name in client.api_key_names:
        client.remove_api_key(name)
    client.add_api_key("explicit", key)
