"""`ollama`: an Ollama server, asked in its own format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from ipfs_accelerate_py.api_backends.results import text_result
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Embedding, Messages, Streaming, asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ModelNotFound, UnsupportedOperation
from ipfs_accelerate_py.settings import Settings, Timeouts
from ipfs_accelerate_py.types import Chunk

__all__ = ["ollama"]

Progress = Callable[[dict[str, Any]], object]

#: A model is large, and the server is silent while it checks what it has loaded. In seconds.
_PULL_TIMEOUT = 24 * 3600.0
_PULL_IDLE = 600.0


class ollama(Streaming, Embedding):  # noqa: N801  # the older API's name
    """An Ollama server.

    ::

        api = ollama(metadata={"ollama_api_url": "http://localhost:11434/api"})
        api.chat("llama3", [{"role": "user", "content": "Hello"}])["text"]

    URL: ``ollama_api_url`` in the metadata, or ``OLLAMA_API_URL``, or ``OLLAMA_HOST``; the model that is asked where a
    call names none (an empty text): ``ollama_model``, or ``OLLAMA_MODEL``. A server of one's own needs no key; for the
    hosted one it is ``ollama_api_key``, or ``OLLAMA_API_KEY``.
    """

    _service: ClassVar[str] = "ollama"

    async def _chat(
        self,
        client: AsyncClient,
        /,
        model: str,
        messages: Messages,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``.

        Options have OpenAI's names or Ollama's own (``num_ctx``, ``keep_alive``, ``think``, ``format``, ``options``).
        """
        options = asked(options, temperature=temperature, max_tokens=max_tokens)
        return text_result(await client.chat(model, messages, **options))

    chat = blocking(_chat)
    achat = awaitable(_chat)

    async def _generate(self, client: AsyncClient, /, model: str, prompt: str, **options: Any) -> dict[str, Any]:
        """One answer to a text, as ``chat`` gives it. Options: ``system``, ``suffix``, ``raw``, ``template``, ..."""
        return text_result(await client.complete(model, prompt, **asked(options)))

    generate = blocking(_generate)
    agenerate = awaitable(_generate)

    # --- models --------------------------------------------------------------------------------------------------

    async def _list_models(self, client: AsyncClient, /, **options: Any) -> list[dict[str, Any]]:
        """The models that the server has, each as it describes them: ``name``, ``size``, ``details``, ..."""
        return [model.raw for model in await client.models(**options)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    def pull(self, model: str, progress: Progress | None = None, **options: Any) -> dict[str, Any]:
        """Have the server fetch a model, and wait until it has it. Returns the last status (``"success"``).

        ``progress`` is called with each status: ``status``, and while a layer comes ``digest``, ``total`` and
        ``completed`` (bytes). `stream_pull` gives them one by one instead.
        """
        last: dict[str, Any] = {}
        with self.stream_pull(model, **options) as statuses:
            for last in statuses:
                if progress is not None:
                    progress(last)
        return last

    async def apull(self, model: str, progress: Progress | None = None, **options: Any) -> dict[str, Any]:
        """The awaitable twin of `pull`."""
        last: dict[str, Any] = {}
        async with self.astream_pull(model, **options) as statuses:
            async for last in statuses:
                if progress is not None:
                    progress(last)
        return last

    def stream_pull(self, model: str, **options: Any) -> Pieces:
        """The statuses of a pull as they come: ``for status in api.stream_pull(...): status["status"]``."""
        client = self._client_of(options.pop("endpoint_id", None))
        stream = client.stream_request("/pull", {"model": model}, **_patient(client.settings, options))
        return _Statuses(stream)

    def astream_pull(self, model: str, **options: Any) -> AsyncPieces:
        """The same for ``async for``, on any event loop."""
        client = self._client_of(options.pop("endpoint_id", None))
        options = _patient(client.settings, options)
        stream = client.asynchronous.stream_request("/pull", {"model": model}, **options)
        return _AsyncStatuses(client.portal(), stream)

    # --- handlers ------------------------------------------------------------------------------------------------

    async def _answer(
        self, client: AsyncClient, /, prompt: Messages, model: str | None, **options: Any
    ) -> dict[str, Any]:
        if not (model or client.options.get("model")):
            models = await client.models()
            if not models:
                raise ModelNotFound("the server has no model; pull one first", backend=self._service)
            model = models[0].id
        return await self._chat(client, model or "", prompt, **options)

    def create_ollama_endpoint_handler(self, model: str | None = None, **options: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["text"]``, or ``(await handler("Hello"))["text"]``.

        It takes a text or a list of messages; ``options`` given here hold for each call unless it has its own. Without
        ``model`` it asks the default one, and where there is none either, the first that the server lists.
        """
        return self._handler(type(self)._answer, model=model, **options)

    # --- keys ----------------------------------------------------------------------------------------------------

    def add_api_key(
        self, name: str, key: str, max_concurrent: int | None = None, *, endpoint_id: str | None = None
    ) -> NoReturn:
        """There is no pool of keys: raises `UnsupportedOperation`."""
        raise UnsupportedOperation(
            "ollama has no pool of keys: a server of one's own takes none. For the hosted service set OLLAMA_API_KEY, "
            "or pass api_key"
        )

    def remove_api_key(self, name: str, *, endpoint_id: str | None = None) -> NoReturn:
        """There is no pool of keys: raises `UnsupportedOperation`."""
        raise UnsupportedOperation("ollama has no pool of keys: a server of one's own takes none")


def _patient(settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    limits = settings.timeouts
    idle = None if limits.idle is None else max(limits.idle, _PULL_IDLE)
    patient = Timeouts(limits.connect, limits.first_byte, limits.first_content, idle)
    return {"timeout": _PULL_TIMEOUT, "timeouts": patient, **options}


class _Statuses(Pieces):
    """Statuses as they are; what ends them is the end."""

    def _piece(self, chunk: Chunk) -> dict[str, Any]:
        return chunk.raw

    def _last(self) -> NoReturn:
        self._over = True
        raise StopIteration


class _AsyncStatuses(AsyncPieces):
    def _piece(self, chunk: Chunk) -> dict[str, Any]:
        return chunk.raw

    def _last(self) -> NoReturn:
        self._over = True
        raise StopAsyncIteration
