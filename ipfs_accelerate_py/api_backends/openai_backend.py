"""`openai_api`: OpenAI, and whatever else is put behind ``base_url`` that speaks its format."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.media import Hearing, Speaking
from ipfs_accelerate_py.api_backends.results import media_result, text_result
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Completing, Embedding, Messages, Streaming, asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Image
from ipfs_accelerate_py.verbs import chat_messages

__all__ = ["openai_api"]


class openai_api(Streaming, Completing, Embedding, Hearing, Speaking):  # noqa: N801  # the older API's name
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

    async def _count_tokens(
        self, client: AsyncClient, /, model: str, messages: Messages, system: str | None = None, **options: Any
    ) -> int:
        """How many tokens a chat with these messages (and ``tools``) is, as the service counts them."""
        return (await client.count_tokens(model, messages, system=system, **asked(options))).usage.input_tokens

    count_tokens = blocking(_count_tokens)
    acount_tokens = awaitable(_count_tokens)

    async def _text_to_image(
        self,
        client: AsyncClient,
        /,
        model: str,
        size: str | None = None,
        n: int | None = None,
        prompt: str = "",
        **options: Any,
    ) -> dict[str, Any]:
        """Images for a prompt: ``urls`` has one for each, and ``images`` the bytes of those that came as bytes.

        Some models send bytes and no URL (``gpt-image-1``); then the URL is one that holds them (``data:``). Options:
        ``quality``, ``style``, ``response_format`` ("url" or "b64_json"), ...
        """
        if not prompt:
            raise ConfigurationError("text_to_image needs a prompt: text_to_image(model, size, n, prompt)")
        reply = await client.generate_images(model, prompt, **asked(options, size=size, n=n))
        return media_result(
            reply,
            urls=[image.url or _data_url(image) for image in reply.images],
            images=[image.data for image in reply.images],
            revised_prompts=[image.prompt for image in reply.images],
        )

    text_to_image = blocking(_text_to_image)
    atext_to_image = awaitable(_text_to_image)

    async def _moderation(
        self,
        client: AsyncClient,
        /,
        input: str | Sequence[Any],
        model: str = "omni-moderation-latest",
        **options: Any,
    ) -> dict[str, Any]:
        """Whether a text (or any of several) is ``flagged``; ``results`` has the verdict on each.

        A verdict has ``flagged``, ``categories`` (by name, whether) and ``category_scores`` (by name, how strongly, 0
        to 1); those of the first one are beside ``results`` as well.
        """
        reply = await client.moderate(model, input, **asked(options))
        results = [
            {"flagged": each.flagged, "categories": each.categories, "category_scores": each.scores}
            for each in reply.moderations
        ]
        flagged = any(each.flagged for each in reply.moderations)
        return media_result(reply, results=results, **{**results[0], "flagged": flagged})

    moderation = blocking(_moderation)
    amoderation = awaitable(_moderation)

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


def _data_url(image: Image) -> str:
    kind = image.media_type or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(image.data).decode('ascii')}"


def _with_prompt(messages: Messages | None, prompt: str | None) -> Messages:
    if messages is None and prompt is None:
        raise ConfigurationError("chat needs messages or a prompt")
    if prompt is None:
        return messages or []
    if not messages:
        return prompt
    return [*chat_messages(messages), {"role": "user", "content": prompt}]
