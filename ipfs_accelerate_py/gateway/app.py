"""The gateway as an ASGI application: routes, keys, health, models. What is asked of models is in ``inference``.

Requests find their handler in a dictionary, with no layer in between.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.dialects.serving import Ingress, bad_request
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.gateway import routes
from ipfs_accelerate_py.gateway.admin import ADMIN, Admin
from ipfs_accelerate_py.gateway.config import GatewayConfig
from ipfs_accelerate_py.gateway.enabling import switch_off, switch_on
from ipfs_accelerate_py.gateway.front import GatewayFront
from ipfs_accelerate_py.gateway.incoming import CLIENT_LEFT, ClientLeft, Incoming, Receive, Scope, Send
from ipfs_accelerate_py.gateway.inference import Inference, not_allowed
from ipfs_accelerate_py.gateway.ingresses import ingress
from ipfs_accelerate_py.gateway.keyring import Keyring
from ipfs_accelerate_py.gateway.metrics import GatewayMetrics
from ipfs_accelerate_py.gateway.metrics_page import MetricsPage
from ipfs_accelerate_py.gateway.stopping import internal_error, stopping
from ipfs_accelerate_py.gateway.table import ModelTable
from ipfs_accelerate_py.types import ModelInfo, Operation

__all__ = ["GatewayApp"]

logger = logging.getLogger(__name__)

Handler = Callable[[Incoming], Awaitable[None]]
#: Of a route: the handler, its name in metrics, whether it wants a key, and the format it answers in.
_Route = tuple[Handler, str, bool, Ingress]

#: The version of Ollama whose API ``/api/...`` is.
OLLAMA_VERSION = "0.12.6"
#: The route that metrics show for paths that are none.
_OTHER = "(other)"
#: Lists of models, and what comes before the name of one.
_LISTS = ("/v1/models", "/openai/v1/models", "/v1beta/models", "/api/tags")
_ONE_MODEL = ("/v1/models/", "/openai/v1/models/", "/v1beta/models/")


class GatewayApp:
    """The ASGI application. Made from a configuration, and closed by the lifespan's end or `aclose`."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.table = ModelTable(config)
        self.metrics = GatewayMetrics()
        #: Set when the gateway is about to stop: ``/health`` says so.
        self.draining = False
        #: What all calls pass; ``front.enable_cache(...)`` and its like work on it.
        self.front = GatewayFront(self.table, self.metrics.observe)
        self._page = MetricsPage(self.metrics, self.front, lambda: self.draining)
        self.keyring = Keyring(config.api_keys, config.keys)
        self._guarded = bool(self.keyring)
        self._admin = Admin(self)
        self._on = False
        self._preloading: asyncio.Task[None] | None = None
        self._inference = Inference(self.table, self.front, self.metrics, config.max_body_bytes)
        openai = ingress("openai")
        #: By path; filled as they are asked for, so that nobody waits for the formats that nobody speaks.
        self._posts: dict[str, _Route] = {}
        self._gets: dict[str, _Route] = {
            "/metrics": (self._metrics, "/metrics", False, openai),
            "/health": (self._health, "/health", False, openai),
            "/api/version": (self._version, "/api/version", False, openai),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        found = self._posts.get(scope["path"]) if scope["method"] == "POST" else None
        handler, route, guarded, form = found or self._find(scope)
        incoming = Incoming(scope, receive, send, form)
        metrics = self.metrics
        metrics.in_flight += 1
        try:
            if guarded:
                incoming.holder = self.keyring.holder(incoming.headers, form)
            await handler(incoming)
        except AccelerateError as error:
            await incoming.refuse(error)
        except ClientLeft:
            pass
        except asyncio.CancelledError:
            if not incoming.left:  # the server stops, and this answer's time is up
                await incoming.refuse(stopping())
        except Exception:
            if incoming.started:
                raise
            logger.exception("a request failed (%s)", incoming.request_id)
            await incoming.refuse(internal_error(incoming.request_id))
        finally:
            incoming.unwatch()
            metrics.in_flight -= 1
            status = CLIENT_LEFT if incoming.left else incoming.status
            metrics.done(route, incoming.model, status, time.monotonic() - incoming.began)

    async def switch_on(self) -> None:
        """Switch on what the configuration says (caches, limits, ledger, ...); once is enough.

        Raises `ConfigurationError` (`MissingExtra`) where that cannot be had.
        """
        if not self._on:
            self._on = True
            await switch_on(self.front, self.config)

    async def aclose(self) -> None:
        """Switch everything off again, and close every backend."""
        if self._preloading is not None:
            self._preloading.cancel()
            await asyncio.gather(self._preloading, return_exceptions=True)
        await self._admin.aclose()
        if self._on:
            self._on = False
            await switch_off(self.front)
        await self.table.aclose()

    # --- routes --------------------------------------------------------------------------------------------------

    def _asking(self, asked: routes.Asked) -> _Route:
        form = ingress(asked.format)

        async def answer(incoming: Incoming) -> None:
            await self._inference(incoming, asked, form)

        return answer, asked.route, self._guarded, form

    def _find(self, scope: Scope) -> _Route:
        method, path = scope["method"], scope["path"]
        if path.startswith(ADMIN) and self._admin.open:
            return self._admin, ADMIN + "*", False, ingress("openai")
        if method == "POST":
            asked = routes.find(path, scope["query_string"])
            if asked is not None:
                route = self._asking(asked)
                if path in routes.POSTS:
                    self._posts[path] = route
                return route
            if path == "/api/show":
                return self._show, path, self._guarded, ingress("ollama")
        elif method in ("GET", "HEAD"):
            found = self._gets.get(path)
            if found is not None:
                return found
            headers = dict(scope["headers"])
            if path in _LISTS:
                form = "ollama" if path == "/api/tags" else routes.format_of_list(path, headers)
                return self._models, path, self._guarded, ingress(form)
            if (tei := routes.tei_read(path)) is not None:
                handler, guarded = (self._tei_info, self._guarded) if tei == "info" else (self._health, False)
                return handler, f"{routes.TEI_PREFIX}{{model}}/{tei}", guarded, ingress("tei")
            for prefix in _ONE_MODEL:
                if path.startswith(prefix) and len(path) > len(prefix):
                    return self._model, prefix + "{id}", self._guarded, ingress(routes.format_of_list(path, headers))
        answer = self._wrong_method if _methods(path) else self._nothing_here
        return answer, _OTHER, False, ingress(routes.format_of_path(path))

    async def _wrong_method(self, incoming: Incoming) -> None:
        allowed = _methods(incoming.scope["path"])
        text = f"This path does not take the method {incoming.scope['method']}; it takes {allowed}."
        answer = incoming.ingress.failure(405, text, "method_not_allowed", incoming.request_id)
        await incoming.answer(405, answer.body, extra=[(b"allow", allowed.encode())])

    async def _nothing_here(self, incoming: Incoming) -> None:
        path = incoming.scope["path"][:200]
        near = path.rstrip("/") if path.startswith("/v1/") else "/v1" + path.rstrip("/")
        hint = f" Did you mean {near}?" if _methods(near) else ""
        text = f"There is nothing at {path}.{hint}"
        answer = incoming.ingress.failure(404, text, "unknown_url", incoming.request_id)
        await incoming.answer(404, answer.body)

    async def _health(self, incoming: Incoming) -> None:
        state = {"status": "draining" if self.draining else "ok", "version": __version__}
        await incoming.answer(503 if self.draining else 200, msgspec.json.encode(state))

    async def _tei_info(self, incoming: Incoming) -> None:
        from ipfs_accelerate_py.gateway.tei_info import describe

        may_ask = incoming.holder.may_ask
        name = incoming.scope["path"].removeprefix(routes.TEI_PREFIX).removesuffix("/info")
        name = self.table.usual(Operation.EMBED, may_ask) if name == "" else name
        if not may_ask(name):
            raise not_allowed(name)
        target = self.table.find(name) or await self.table.discover(name)
        local = target.backend.local if target.backend is not None else None
        raw = await asyncio.to_thread(describe, local, target.model)
        await incoming.answer(200, incoming.ingress.model(ModelInfo(name, "", 0, raw)))

    async def _version(self, incoming: Incoming) -> None:
        # Clients look at it to know what they may ask for: it is that of the API, and not ours.
        await incoming.answer(200, msgspec.json.encode({"version": OLLAMA_VERSION}))

    async def _metrics(self, incoming: Incoming) -> None:
        # It names models, tenants and what they spend: that is for whoever runs this, and for no tenant.
        headers = incoming.headers
        if not self._guarded or self._admin.fits(headers):
            allowed = True
        else:
            allowed = self.keyring.holder(headers, incoming.ingress).operator
        if not allowed:
            raise bad_request("This API key may not see the gateway's metrics.", "not_allowed", None, 403)
        await incoming.answer(200, self._page.text(), (b"content-type", self._page.content_type))

    async def _models(self, incoming: Incoming) -> None:
        shown = [model for model in await self.table.models() if incoming.holder.may_ask(model.id)]
        await incoming.answer(200, incoming.ingress.models(shown))

    async def _model(self, incoming: Incoming) -> None:
        path = incoming.scope["path"]
        prefix = next(each for each in _ONE_MODEL if path.startswith(each))
        await self._one(incoming, path.removeprefix(prefix))

    async def _one(self, incoming: Incoming, name: str) -> None:
        if not incoming.holder.may_ask(name):
            raise not_allowed(name)
        await incoming.answer(200, incoming.ingress.model(await self.table.model(name)))

    async def _show(self, incoming: Incoming) -> None:
        """Ollama's way to ask for one model: by a body."""
        body = await incoming.body(self.config.max_body_bytes)
        try:
            asked = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            asked = None
        name = asked.get("model") or asked.get("name") if isinstance(asked, dict) else None
        if not isinstance(name, str):
            raise bad_request("The body must be a JSON object with the name of a 'model'.", "invalid_type", "model")
        await self._one(incoming, name)

    # --- lifespan ------------------------------------------------------------------------------------------------

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": "there are no websockets here"})
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.draining = False
                try:
                    await self.switch_on()
                except AccelerateError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                self.table.warm_up()
                if preload := self.table.preloaded:
                    self._preloading = asyncio.create_task(self.table.preload(preload))
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.draining = True
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _methods(path: str) -> str:
    """The methods that a path takes, empty where there is nothing."""
    if path in routes.POSTS or path == "/api/show" or routes.find(path, b"") is not None:
        return "POST"
    readable = path in _LISTS or routes.tei_read(path) is not None or path in ("/metrics", "/health", "/api/version")
    one = any(path.startswith(prefix) and len(path) > len(prefix) for prefix in _ONE_MODEL)
    return "GET, HEAD" if readable or one else ""
