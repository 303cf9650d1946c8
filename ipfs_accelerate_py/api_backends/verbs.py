"""The verbs of the classes whose service speaks OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.api_backends.results import embedding_result, text_result
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Message

__all__ = ["Chatting", "Completing", "Embedding", "Messages", "Streaming", "asked"]

Messages = str | Sequence[Message]


class Chatting(ApiBackend):
    """What the streaming verbs are made of. A class that prepares its messages says so in `_prepared`."""

    def _pieces(self, model: str, messages: Messages, options: dict[str, Any]) -> Pieces:
        options = _set({**options, "stream": None})
        client = self._client_of(options.pop("endpoint_id", None))
        messages = self._prepared(messages, options)
        return Pieces(client.stream(model, messages, **options))

    def _async_pieces(self, model: str, messages: Messages, options: dict[str, Any]) -> AsyncPieces:
        options = _set({**options, "stream": None})
        client = self._client_of(options.pop("endpoint_id", None))
        messages = self._prepared(messages, options)
        return AsyncPieces(client.portal(), client.asynchronous.stream(model, messages, **options))

    def _prepared(self, messages: Messages, options: dict[str, Any]) -> Messages:
        """Messages as they are sent; what was an option and is now a message is taken out of the options."""
        return messages


class Streaming(Chatting):
    """`stream_chat` and its twin."""

    def stream_chat(self, model: str, messages: Messages, **options: Any) -> Pieces:
        """A chat answer as it is written: ``for chunk in api.stream_chat(...): chunk["text"]``; the last has ``done``.

        Options are those of ``chat``. The call begins at once.
        """
        return self._pieces(model, messages, options)

    def astream_chat(self, model: str, messages: Messages, **options: Any) -> AsyncPieces:
        """The same for ``async for``, on any event loop. The call begins with the first piece asked for."""
        return self._async_pieces(model, messages, options)


class Completing(ApiBackend):
    """`completions`."""

    async def _completions(
        self,
        client: AsyncClient,
        /,
        model: str,
        prompt: str | list[Any],
        temperature: float | None = None,
        max_tokens: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """A plain completion: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``raw``."""
        options = asked(options, temperature=temperature, max_tokens=max_tokens)
        return text_result(await client.complete(model, prompt, **options))

    completions = blocking(_completions)
    acompletions = awaitable(_completions)


class Embedding(ApiBackend):
    """`embedding`."""

    async def _embedding(
        self,
        client: AsyncClient,
        /,
        model: str,
        input: str | Sequence[Any],
        format: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Embeddings of a text, a list of token ids, or a list of either.

        ``embeddings`` has a list of floats for each input, in order; ``embedding`` is the vector itself where one input
        was given, and the same as ``embeddings`` where it was a list. ``format`` ("float" or "base64") is how vectors
        travel; they come back as floats either way.
        """
        options = asked(options, encoding_format=format)
        inputs = [input] if _is_one(input) else input
        return embedding_result(await client.embed(model, inputs, **options), single=inputs is not input)

    embedding = blocking(_embedding)
    aembedding = awaitable(_embedding)


def _is_one(input: str | Sequence[Any]) -> bool:
    """A text, or a text's token ids."""
    return isinstance(input, str) or (len(input) > 0 and isinstance(input[0], int))


def asked(options: Mapping[str, Any], **named: Any) -> dict[str, Any]:
    """The options that were set; what is None is not sent. A streaming answer has a verb of its own."""
    if options.get("stream"):
        raise ConfigurationError("for a streaming answer use stream_chat")
    return _set({**options, "stream": None, **named})


def _set(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
