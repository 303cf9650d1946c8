"""`claude`: Anthropic's models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.results import text_result
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Chatting, Messages, asked
from ipfs_accelerate_py.client import AsyncClient

__all__ = ["claude"]


class claude(Chatting):  # noqa: N801  # the older API's name
    """Anthropic.

    ::

        api = claude(metadata={"anthropic_api_key": "..."})
        api.chat([{"role": "user", "content": "Hello"}])["text"]

    Key: ``anthropic_api_key`` (``claude_api_key``) in the metadata, or ``ANTHROPIC_API_KEY`` (``CLAUDE_API_KEY``); URL:
    ``anthropic_base_url``, or ``ANTHROPIC_BASE_URL``. Beside the settings it takes ``anthropic_version``,
    ``auth_style`` ("x-api-key" or "bearer"), ``model`` and ``max_tokens`` for calls that name none, and ``reasoning``.
    """

    _service: ClassVar[str] = "claude"

    async def _chat(
        self,
        client: AsyncClient,
        /,
        messages: Messages,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        system: str | list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``.

        ``messages`` is a text or a list in OpenAI's shape; blocks of Anthropic's own (``image``, ``document``,
        ``tool_result``, ...) may stand in it. ``system`` is a text, or text blocks. Options go by OpenAI's names or by
        Anthropic's (``thinking``, ``stop_sequences``, ``betas``, ...). Without ``model`` the one set for this object is
        asked. ``thinking_blocks`` of the result, put into the assistant's message of the next turn, go back as they
        are.
        """
        options = asked(options, max_tokens=max_tokens, temperature=temperature, system=system)
        reply = await client.chat(model or client.options["model"], messages, **options)
        return {**text_result(reply), "thinking_blocks": list(reply.thinking_blocks)}

    chat = blocking(_chat)
    achat = awaitable(_chat)

    def stream_chat(self, messages: Messages, model: str | None = None, **options: Any) -> Pieces:
        """A chat answer as it is written: ``for chunk in api.stream_chat(...): chunk["text"]``; the last has ``done``.

        Options are those of ``chat``. The call begins at once.
        """
        return self._pieces(self._model(model, options), messages, options)

    def astream_chat(self, messages: Messages, model: str | None = None, **options: Any) -> AsyncPieces:
        """The same for ``async for``, on any event loop. The call begins with the first piece asked for."""
        return self._async_pieces(self._model(model, options), messages, options)

    def _model(self, model: str | None, options: dict[str, Any]) -> str:
        return model or str(self._client_of(options.get("endpoint_id")).options["model"])

    async def _count_tokens(
        self,
        client: AsyncClient,
        /,
        messages: Messages,
        model: str | None = None,
        system: str | list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> int:
        """How many tokens a chat with these messages (and ``tools``) is, as the service counts them."""
        options = asked(options, system=system)
        reply = await client.count_tokens(model or client.options["model"], messages, **options)
        return reply.usage.input_tokens

    count_tokens = blocking(_count_tokens)
    acount_tokens = awaitable(_count_tokens)

    async def _list_models(self, client: AsyncClient, /, **options: Any) -> list[dict[str, Any]]:
        """The models on offer, each as the service describes it (``id``, ``display_name``, ``created_at``)."""
        return [model.raw for model in await client.models(**options)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    async def _answer(
        self, client: AsyncClient, /, prompt: Messages, model: str | None, **options: Any
    ) -> dict[str, Any]:
        return await self._chat(client, prompt, model, **options)

    def create_claude_endpoint_handler(self, model: str | None = None, **options: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["text"]``, or ``(await handler("Hello"))["text"]``.

        It takes a text or a list of messages; ``options`` given here hold for each call unless it has its own.
        """
        return self._handler(type(self)._answer, model=model, **options)
