"""`gemini`: Google's models."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.results import embedding_result, text_result
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Chatting, Messages, asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["gemini"]

#: How files of the formats that the service takes begin ("Image understanding", ai.google.dev/gemini-api/docs).
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
)
_HEIF = {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"avif": "image/avif"}


class gemini(Chatting):  # noqa: N801  # the older API's name
    """Google's Gemini API.

    ::

        api = gemini(metadata={"google_api_key": "..."})
        api.chat([{"role": "user", "content": "Hello"}])["text"]
        api.process_image(open("cat.png", "rb").read(), "What is this?")["text"]

    Key: ``google_api_key`` (``gemini_api_key``) in the metadata, or ``GOOGLE_API_KEY`` (``GEMINI_API_KEY``); URL:
    ``google_base_url``, or ``GOOGLE_BASE_URL``. Beside the settings it takes ``model`` and ``embedding_model``, for
    calls that name none.
    """

    _service: ClassVar[str] = "gemini"

    async def _chat(
        self,
        client: AsyncClient,
        /,
        messages: Messages,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``.

        ``messages`` is a text or a list in OpenAI's shape. Options go by OpenAI's names or by Google's
        (``safety_settings``, ``thinking_config``, ...). Without ``model`` the one set for this object is asked.
        """
        options = asked(options, temperature=temperature, max_tokens=max_tokens)
        return text_result(await client.chat(model or client.options["model"], messages, **options))

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
        return model or str(self._client_of(options.get("endpoint_id")).asynchronous.options["model"])

    async def _process_image(
        self,
        client: AsyncClient,
        /,
        image_data: bytes | bytearray | memoryview | str,
        prompt: str = "Describe this image.",
        model: str | None = None,
        mime_type: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """The answer to a prompt about an image, as ``chat`` gives it.

        ``image_data`` is the image's bytes, their base64, a data URL, or the address of an image. Without
        ``mime_type`` the format is told from how the bytes begin.
        """
        part = {"type": "image_url", "image_url": {"url": _image_url(image_data, mime_type)}}
        messages = [{"role": "user", "content": [part, {"type": "text", "text": prompt}]}]
        return await self._chat(client, messages, model, **options)

    process_image = blocking(_process_image)
    aprocess_image = awaitable(_process_image)

    async def _embedding(
        self, client: AsyncClient, /, input: str | Sequence[str], model: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Embeddings of a text or of several.

        ``embeddings`` has a list of floats for each input, in order; ``embedding`` is the vector itself where one
        text was given, and the same as ``embeddings`` where it was a list. Options: ``dimensions``, ``task_type``.
        """
        reply = await client.embed(model or client.options["embedding_model"], input, **asked(options))
        return embedding_result(reply, single=isinstance(input, str))

    embedding = blocking(_embedding)
    aembedding = awaitable(_embedding)

    async def _count_tokens(
        self, client: AsyncClient, /, messages: Messages, model: str | None = None, **options: Any
    ) -> int:
        """How many tokens a chat with these messages (and ``tools``) is, as the service counts them."""
        reply = await client.count_tokens(model or client.options["model"], messages, **asked(options))
        return reply.usage.input_tokens

    count_tokens = blocking(_count_tokens)
    acount_tokens = awaitable(_count_tokens)

    async def _list_models(self, client: AsyncClient, /, **options: Any) -> list[dict[str, Any]]:
        """The models on offer, each as the service describes it, and with ``id``, its name in calls."""
        return [{"id": model.id, **model.raw} for model in await client.models(**options)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    async def _answer(
        self, client: AsyncClient, /, prompt: Messages, model: str | None, **options: Any
    ) -> dict[str, Any]:
        return await self._chat(client, prompt, model, **options)

    def create_gemini_endpoint_handler(self, model: str | None = None, **options: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["text"]``, or ``(await handler("Hello"))["text"]``.

        It takes a text or a list of messages; ``options`` given here hold for each call unless it has its own.
        """
        return self._handler(type(self)._answer, model=model, **options)


def _image_url(image: Any, mime_type: str | None) -> str:
    if isinstance(image, str):
        if image.startswith(("data:", "https://", "http://", "gs://", "files/")):
            return image
        try:
            image = base64.b64decode("".join(image.split()), validate=True)
        except ValueError:
            raise ConfigurationError(
                "image_data must be an image's bytes, their base64, a data URL or an address"
            ) from None
    if not isinstance(image, bytes | bytearray | memoryview):
        raise ConfigurationError(f"image_data must be an image's bytes, not {type(image).__name__}")
    data = bytes(image)
    kind = mime_type or _sniffed(data)
    if kind is None:
        raise ConfigurationError("the image's format cannot be told from its bytes; give its mime_type")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _sniffed(data: bytes) -> str | None:
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return _HEIF.get(data[8:12]) if data[4:8] == b"ftyp" else None
