"""`hf_tgi`: Text Generation Inference, on a server of one's own or hosted by Hugging Face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.results import text_result
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Messages, Streaming, asked
from ipfs_accelerate_py.client import AsyncClient

__all__ = ["hf_tgi"]


class hf_tgi(Streaming):  # noqa: N801  # the older API's name
    """Text Generation Inference.

    ::

        api = hf_tgi(metadata={"tgi_url": "http://localhost:8080"})
        api.generate_text("my-model", "Once upon a time", parameters={"max_new_tokens": 100})["generated_text"]

    URL: ``tgi_url`` in the metadata, or ``TGI_URL``; without one, Hugging Face's router is asked, which needs a key:
    ``hf_api_token`` (``hf_api_key``) in the metadata, or ``HF_API_TOKEN``, or ``HF_TOKEN``. A server of one's own has
    one model, and whatever a call names is that; the router takes the model by name, and ``TGI_MODEL`` where a call
    names none (an empty text).
    """

    _service: ClassVar[str] = "hf_tgi"

    async def _generate_text(
        self,
        client: AsyncClient,
        /,
        model: str,
        inputs: str,
        parameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """A text continued: a dictionary with ``generated_text`` (and ``text``, the same), ``usage``, ``raw``, ...

        ``parameters`` are TGI's (``max_new_tokens``, ``do_sample``, ``top_n_tokens``, ``grammar``, ...); among the
        options they may stand too, also under OpenAI's names (``max_tokens``, ``response_format``). The tokens are in
        ``raw["details"]``.
        """
        reply = await client.complete(model, inputs, **asked(options, parameters=parameters))
        return {"generated_text": reply.text, **text_result(reply)}

    generate_text = blocking(_generate_text)
    agenerate_text = awaitable(_generate_text)

    def stream_generate(
        self, model: str, inputs: str, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> Pieces:
        """The same as it is written: ``for chunk in api.stream_generate(...): chunk["text"]``; the last has ``done``.

        The call begins at once.
        """
        options = asked({**options, "stream": None}, parameters=parameters)
        client = self._client_of(options.pop("endpoint_id", None))
        return Pieces(client.stream_complete(model, inputs, **options))

    def astream_generate(
        self, model: str, inputs: str, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncPieces:
        """The same for ``async for``, on any event loop. The call begins with the first piece asked for."""
        options = asked({**options, "stream": None}, parameters=parameters)
        client = self._client_of(options.pop("endpoint_id", None))
        return AsyncPieces(client.portal(), client.asynchronous.stream_complete(model, inputs, **options))

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
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``."""
        options = asked(options, temperature=temperature, max_tokens=max_tokens)
        return text_result(await client.chat(model, messages, **options))

    chat = blocking(_chat)
    achat = awaitable(_chat)

    async def _list_models(self, client: AsyncClient, /, **options: Any) -> list[dict[str, Any]]:
        """The model that the server has, or those that the router serves, each as it is described (``id`` at least)."""
        return [model.raw for model in await client.models(**options)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    async def _answer(self, client: AsyncClient, /, prompt: Messages, model: str, **options: Any) -> dict[str, Any]:
        if isinstance(prompt, str):
            return await self._generate_text(client, model, prompt, **options)
        return await self._chat(client, model, prompt, **options)

    def create_remote_text_generation_endpoint_handler(
        self, model: str = "", **options: Any
    ) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Once upon a time")["text"]``, or ``(await handler("Once upon a time"))["text"]``.

        A text is continued (its result has ``generated_text`` too), a list of messages is answered; ``options`` given
        here hold for each call unless it has its own.
        """
        return self._handler(type(self)._answer, model=model, **options)
