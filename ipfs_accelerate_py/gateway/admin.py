"""What whoever runs the gateway may look at and do: ``/admin/...``, for those who show the admin's key.

JSON in, JSON out. No key's value is in any of it.
"""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway.admin_models import ModelAdmin
from ipfs_accelerate_py.gateway.incoming import Incoming
from ipfs_accelerate_py.gateway.keyring import digest, shown

if TYPE_CHECKING:
    from ipfs_accelerate_py.gateway.app import GatewayApp

__all__ = ["ADMIN", "Admin"]

ADMIN = "/admin/"
_MOST_BODY = 64 * 1024


class Admin:
    """The handler of everything under ``/admin/``. ``open`` is False without a key: then there is nothing."""

    def __init__(self, app: GatewayApp) -> None:
        self._app = app
        self._keys = frozenset(digest(key.secret.reveal().encode()) for key in app.config.admin_keys)
        self.open = bool(self._keys)
        self._models = ModelAdmin(app.table)
        self.aclose = self._models.aclose
        self._gets: dict[str, Callable[[dict[str, str]], Any]] = {
            "usage": self._usage,
            "keys": self._names,
            "budgets": self._budgets,
            "limits": self._budgets,
            "targets": self._targets,
            "report": self._report,
            "models": self._models.list,
            "cache": lambda query: app.front.cache_stats(),
            "alerts": lambda query: app.front.alert_states(),
        }
        self._posts: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "cache/clear": self._clear,
            "models/load": self._models.load,
            "models/unload": self._models.unload,
        }

    def fits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request shows the admin's key."""
        return self.open and digest(shown(headers)) in self._keys

    async def __call__(self, incoming: Incoming) -> None:
        if not self.fits(incoming.headers):
            text = "This needs the gateway's admin key in the header 'Authorization: Bearer <key>'."
            raise bad_request(text, "invalid_api_key", None, 401)
        scope = incoming.scope
        name = scope["path"][len(ADMIN) :].rstrip("/")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        gets, posts = self._gets.get(name), self._posts.get(name)
        found: Any
        try:
            if method == "GET" and gets is not None:
                found = gets(dict(parse_qsl(scope["query_string"].decode("latin-1"))))
                if inspect.isawaitable(found):
                    found = await found
            elif method == "POST" and posts is not None:
                found = await posts(await self._body(incoming))
            else:
                await self._nothing(incoming, name, gets is not None, posts is not None)
                return
        except ConfigurationError as error:
            raise bad_request(error.message, "invalid_value") from None
        if isinstance(found, str):
            kind = b"text/html" if found.lstrip().startswith("<") else b"text/markdown"
            await incoming.answer(200, found.encode(), (b"content-type", kind + b"; charset=utf-8"))
        else:
            await incoming.answer(200, msgspec.json.encode(found, enc_hook=str))

    async def _nothing(self, incoming: Incoming, name: str, gets: bool, posts: bool) -> None:
        if gets or posts:
            allowed = "GET, HEAD" if gets else "POST"
            answer = incoming.ingress.failure(405, f"This path takes {allowed}.", "method_not_allowed")
            await incoming.answer(405, answer.body, extra=[(b"allow", allowed.encode())])
            return
        there = ", ".join(ADMIN + each for each in (*self._gets, *self._posts))
        answer = incoming.ingress.failure(404, f"There is nothing here; there are {there}.", "unknown_url")
        await incoming.answer(404, answer.body)

    async def _body(self, incoming: Incoming) -> dict[str, Any]:
        if incoming.headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in incoming.headers:
            return {}
        body = await incoming.body(_MOST_BODY)
        try:
            found = msgspec.json.decode(body) if body.strip() else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
        if not isinstance(found, dict):
            raise bad_request("The body must be a JSON object, or empty.", "invalid_type")
        return found

    # --- what there is -------------------------------------------------------------------------------------------

    async def _usage(self, query: dict[str, str]) -> Any:
        """From the ledger: ``by=day,model&since=...&until=...`` and filters (``tenant=acme``)."""
        front = self._app.front
        if front.ledger is None:
            raise bad_request("No ledger is kept; the section 'ledger' of the configuration begins one.", "no_ledger")
        by = [each for each in query.pop("by", "").split(",") if each]
        times = {name: _instant(name, query.pop(name)) for name in ("since", "until") if name in query}
        rows = await front.usage(by, since=times.get("since"), until=times.get("until"), **_filters(query))
        return {"by": by, "usage": rows}

    def _names(self, query: dict[str, str]) -> Any:
        """Names and what they may do; of keys nothing else."""
        config = self._app.config
        plain = [{"name": key.name, "tenant": "", "models": None} for key in config.api_keys]
        return {
            "keys": [
                *plain,
                *(
                    {
                        "name": key.name,
                        "tenant": key.tenant,
                        "models": None if key.models is None else sorted(key.models),
                        "priority": key.priority.name,
                        "expires": key.expires,
                        "limits": dict(key.limits),
                    }
                    for key in config.keys
                ),
            ]
        }

    def _budgets(self, query: dict[str, str]) -> Any:
        """What is spent of each budget, and what is left of each rate."""
        front = self._app.front
        return {"budgets": front.budgets(), "limits": front.limits()}

    def _targets(self, query: dict[str, str]) -> Any:
        """Breaker, queue, keys and health of every backend and of every target of an alias."""
        table = self._app.table
        router = table.router
        routed = {} if router is None else router.targets
        targets = {}
        for name, backend in table.backends.items():
            found = routed.get(name)
            state = backend.snapshot() if found is None else found.snapshot()
            state.pop("usage", None)
            targets[name] = state
        aliases = {} if router is None else {name: alias.snapshot() for name, alias in router.aliases.items()}
        return {"aliases": aliases, "targets": targets}

    def _report(self, query: dict[str, str]) -> Any:
        """As data, or as a page: ``format=markdown`` or ``html``."""
        return self._app.front.report(query.get("format", "dict"))

    async def _clear(self, body: dict[str, Any]) -> Any:
        """Forget answers: all, or those of one tenant or model."""
        unknown = body.keys() - {"tenant", "model"}
        if unknown or not all(isinstance(value, str) for value in body.values()):
            raise bad_request("The body may have 'tenant' and 'model', both texts.", "invalid_value")
        return {"cleared": await self._app.front.clear_cache(**body)}


def _filters(query: dict[str, str]) -> dict[str, Any]:
    return dict(query)


def _instant(name: str, text: str) -> float:
    """Seconds since 1970, or a day or instant of ISO 8601 (UTC)."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise bad_request(
            f"'{name}' must be seconds since 1970, or as 2026-01-31 or 2026-01-31T12:00:00Z.", "invalid_value", name
        ) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)).timestamp()
