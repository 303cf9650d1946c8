"""`openai_api`: OpenAI, and whatever else is put behind ``base_url`` that speaks its format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.results import text_result
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Completing, Embedding, Messages, Streaming, asked
from ipfs_accelerate_py.client import AsyncClient, chat_messages
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["openai_api"]


class openai_api(Streaming, Completing, Embedding):  # noqa: N801  # the older API's name
    """OpenAI.

    ::

        api = openai_api(metadata={"openai_api_key": "..."})
        api.chat("gpt-4o", [{"role": "user", "content": "Hello"}], system="Be brief", max_tokens=100)["text"]

    Key: ``openai_api_key`` in the metadata, or ``OPENAI_API_KEY``; URL: ``openai_base_url``, or ``OPENAI_BASE_URL``.
    """

    _service: ClassVar[str] = "openai"

    async def _chat(
        self,
        client: AsyncClient,
        /,
        model: str,
        messages: Messages | None = None,
        prompt: str | None = None,
        system: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``.

        ``messages`` is a text or a list in OpenAI's shape; ``prompt`` is one more message of the user after them, and
        ``system`` one before them. Other options go to the service as they are.
        """
        options = asked(options, temperature=temperature, max_tokens=max_tokens)
        return text_result(await client.chat(model, _with_prompt(messages, prompt), system=system, **options))

    chat = blocking(_chat)
    achat = awaitable(_chat)

    def _prepared(self, messages: Messages, options: dict[str, Any]) -> Messages:
        return _with_prompt(messages, options.pop("prompt", None))

    async def _responses(
        self, client: AsyncClient, /, model: str, input: str | list[Any], **options: Any
    ) -> dict[str, Any]:
        """One answer of the Responses API, as ``chat`` gives it."""
        return text_result(await client.respond(model, input, **asked(options)))

    responses = blocking(_responses)
    aresponses = awaitable(_responses)

    async def _list_models(self, client: AsyncClient, /, **options: Any) -> list[dict[str, Any]]:
        """The models on offer, each as the service describes it (``id``, ``owned_by``, ``created``)."""
        return [model.raw for model in await client.models(**options)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    async def _answer(self, client: AsyncClient, /, prompt: Messages, model: str, **options: Any) -> dict[str, Any]:
        return await self._chat(client, model, prompt, **options)

    def create_chat_endpoint_handler(self, model: str, **options: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["text"]``, or ``(await handler("Hello"))["text"]``.

        It takes a text or a list of messages; ``options`` given here hold for each call unless it has its own.
        """
        return self._handler(type(self)._answer, model=model, **options)


def _with_prompt(messages: Messages | None, prompt: str | None) -> Messages:
    if messages is None and prompt is None:
        raise ConfigurationError("chat needs messages or a prompt")
    if prompt is None:
        return messages or []
    if not messages:
        return prompt
    return [*chat_messages(messages), {"role": "user", "content": prompt}]
