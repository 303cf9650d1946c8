"""The gateway as an ASGI application: routes, keys, health, models. What is asked of models is in ``inference``.

Requests find their handler in a dictionary, with no layer in between.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.dialects.openai_answers import encode_model, encode_models, error_body
from ipfs_accelerate_py.dialects.openai_server import bad_request
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.gateway.config import GatewayConfig
from ipfs_accelerate_py.gateway.incoming import CLIENT_LEFT, ClientLeft, Incoming, Receive, Scope, Send
from ipfs_accelerate_py.gateway.inference import Inference
from ipfs_accelerate_py.gateway.metrics import GatewayMetrics, MetricsPage
from ipfs_accelerate_py.gateway.stopping import internal_error, stopping
from ipfs_accelerate_py.gateway.table import ModelTable
from ipfs_accelerate_py.types import Operation

__all__ = ["GatewayApp"]

logger = logging.getLogger(__name__)

Handler = Callable[[Incoming], Awaitable[None]]
_Route = tuple[Handler, str, bool]

#: The route that metrics show for paths that are none.
_OTHER = "(other)"
_ONE_MODEL = "/v1/models/"


class GatewayApp:
    """The ASGI application. Made from a configuration, and closed by the lifespan's end or `aclose`."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.table = ModelTable(config)
        self.metrics = GatewayMetrics()
        #: Set when the gateway is about to stop: ``/health`` says so.
        self.draining = False
        self._page = MetricsPage(self.metrics, self.table.backends, lambda: self.draining)
        # Digests are compared, so that the comparison's time does not tell a key's length either.
        self._keys = [_digest(key.secret.reveal().encode()) for key in config.api_keys]
        self._guarded = bool(self._keys)
        self._preloading: asyncio.Task[None] | None = None
        #: By method and path: the handler, the route's name in metrics, and whether it wants a key.
        self._routes: dict[tuple[str, str], _Route] = {}
        for operation, path in (
            (Operation.CHAT, "/v1/chat/completions"),
            (Operation.COMPLETION, "/v1/completions"),
            (Operation.RESPONSE, "/v1/responses"),
            (Operation.EMBED, "/v1/embeddings"),
        ):
            inference = Inference(operation, path, self.table, self.metrics, config.max_body_bytes)
            self._routes["POST", path] = (inference, path, self._guarded)
        page: Handler
        for path, page, open_to_all in (
            ("/v1/models", self._models, False),
            ("/metrics", self._metrics, False),
            ("/health", self._health, True),
        ):
            route = (page, path, self._guarded and not open_to_all)
            self._routes["GET", path] = self._routes["HEAD", path] = route
        self._paths = {path for _, path in self._routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        handler, route, guarded = self._routes.get((scope["method"], scope["path"])) or self._other(scope)
        incoming = Incoming(scope, receive, send)
        metrics = self.metrics
        metrics.in_flight += 1
        try:
            if guarded:
                self._authorize(incoming.headers)
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

    async def aclose(self) -> None:
        """Close every backend."""
        if self._preloading is not None:
            self._preloading.cancel()
            await asyncio.gather(self._preloading, return_exceptions=True)
        await self.table.aclose()

    def _authorize(self, headers: dict[bytes, bytes]) -> None:
        """Before anything of the body is read. All keys are looked at, whichever fits."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = _digest(token.strip())
        fits = False
        for key in self._keys:
            fits |= hmac.compare_digest(given, key)
        if not fits or scheme.lower() != b"bearer":
            text = "Incorrect API key provided." if token else "You did not provide an API key."
            text += " This gateway wants its key in the header 'Authorization: Bearer <key>'."
            raise bad_request(text, "invalid_api_key", None, 401)

    # --- other routes --------------------------------------------------------------------------------------------

    def _other(self, scope: Scope) -> _Route:
        method, path = scope["method"], scope["path"]
        one_model = path.startswith(_ONE_MODEL) and len(path) > len(_ONE_MODEL)
        if one_model and method in ("GET", "HEAD"):
            return self._model, _ONE_MODEL + "{id}", self._guarded
        if one_model or path in self._paths:
            return self._wrong_method, _OTHER, False
        return self._nothing_here, _OTHER, False

    async def _wrong_method(self, incoming: Incoming) -> None:
        path = incoming.scope["path"]
        allowed = ", ".join(sorted(method for method, each in self._routes if each == path)) or "GET, HEAD"
        text = f"This path does not take the method {incoming.scope['method']}; it takes {allowed}."
        body = error_body(405, text, "method_not_allowed")
        await incoming.answer(405, body, extra=[(b"allow", allowed.encode())])

    async def _nothing_here(self, incoming: Incoming) -> None:
        path = incoming.scope["path"][:200]
        near = path.rstrip("/") if path.startswith("/v1/") else "/v1" + path.rstrip("/")
        hint = f" Did you mean {near}?" if near in self._paths else ""
        await incoming.answer(404, error_body(404, f"There is nothing at {path}.{hint}", "unknown_url"))

    async def _health(self, incoming: Incoming) -> None:
        state = {"status": "draining" if self.draining else "ok", "version": __version__}
        await incoming.answer(503 if self.draining else 200, msgspec.json.encode(state))

    async def _metrics(self, incoming: Incoming) -> None:
        await incoming.answer(200, self._page.text(), (b"content-type", self._page.content_type))

    async def _models(self, incoming: Incoming) -> None:
        await incoming.answer(200, encode_models(await self.table.models()))

    async def _model(self, incoming: Incoming) -> None:
        name = incoming.scope["path"].removeprefix(_ONE_MODEL)
        await incoming.answer(200, encode_model(await self.table.model(name)))

    # --- lifespan ------------------------------------------------------------------------------------------------

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": "there are no websockets here"})
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.draining = False
                self.table.warm_up()
                if preload := self.table.preloaded:
                    self._preloading = asyncio.create_task(self.table.preload(preload))
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.draining = True
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
