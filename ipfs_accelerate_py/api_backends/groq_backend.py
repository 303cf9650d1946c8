"""`groq`: Groq's hosted models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.estimates import TokenEstimate, estimate_tokens
from ipfs_accelerate_py.api_backends.media import Hearing, Speaking
from ipfs_accelerate_py.api_backends.results import text_result
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Chatting, Messages, asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import ModelInfo
from ipfs_accelerate_py.verbs import chat_messages

__all__ = ["groq"]

CATEGORIES = ("chat", "vision", "audio")

# Groq's list of models does not say what a model is for; its documentation does, by id: "Speech to Text" and "Text to
# Speech" for audio, "Images and Vision" for vision (console.groq.com/docs). Everything else it serves answers chat.
_AUDIO = ("whisper", "tts", "orpheus")
_VISION = ("vision", "llava", "llama-4", "qwen3.6-27b", "qwen3.8-27b")


class groq(Chatting, Hearing, Speaking):  # noqa: N801  # the older API's name
    """Groq.

    ::

        api = groq(metadata={"groq_api_key": "..."})
        api.chat("openai/gpt-oss-20b", [{"role": "user", "content": "Hello"}])["text"]

    Key: ``groq_api_key`` in the metadata, or ``GROQ_API_KEY``; URL: ``groq_base_url``, or ``GROQ_BASE_URL``.
    """

    _service: ClassVar[str] = "groq"

    async def _chat(
        self,
        client: AsyncClient,
        /,
        model_name: str,
        messages: Messages,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        response_format: dict[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``.

        What is not set is not sent, and what is set is sent as it is; ``top_k`` is no field of OpenAI's format, and
        whether it is known is for the service to say. With ``response_format={"type": "json_object"}`` and no mention
        of JSON in the messages, which the service would refuse, a system message that asks for it is put before them.
        """
        options = asked(
            options,
            temperature=temperature,
            max_tokens=max_tokens,
            top_p=top_p,
            top_k=top_k,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            response_format=response_format,
        )
        return text_result(await client.chat(model_name, self._prepared(messages, options), **options))

    chat = blocking(_chat)
    achat = awaitable(_chat)

    def stream_chat(self, model_name: str, messages: Messages, **options: Any) -> Pieces:
        """A chat answer as it is written: ``for chunk in api.stream_chat(...): chunk["text"]``; the last has ``done``.

        Options are those of ``chat``. The call begins at once.
        """
        return self._pieces(model_name, messages, options)

    def astream_chat(self, model_name: str, messages: Messages, **options: Any) -> AsyncPieces:
        """The same for ``async for``, on any event loop. The call begins with the first piece asked for."""
        return self._async_pieces(model_name, messages, options)

    def _prepared(self, messages: Messages, options: dict[str, Any]) -> Messages:
        wanted = options.get("response_format")
        if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
            return messages
        sent = chat_messages(messages, options.pop("system", None))
        if any("json" in str(message.get("content")).lower() for message in sent):
            return sent
        return [{"role": "system", "content": "Answer with a JSON object."}, *sent]

    async def _list_models(
        self, client: AsyncClient, /, category: str | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """The models that Groq offers now, or those that serve a category: ``chat``, ``vision`` or ``audio``.

        Each has ``id``, ``description``, ``context_window`` (tokens; None where the service does not say),
        ``category``, ``owned_by``, ``created`` and ``raw``. Nothing is listed that the service does not list.
        """
        if category is not None:
            _check(category)
        models = [_entry(model) for model in await client.models(**options)]
        return [model for model in models if category is None or _serves(model["category"], category)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    def is_compatible_model(self, model: str, category: str = "chat") -> bool:
        """Whether a model of this name serves a category: ``chat``, ``vision`` or ``audio``; vision models chat, too.

        Told from the name, without asking the service: whether it is on offer is for `list_models` to say.
        """
        _check(category)
        return _serves(_category(model), category)

    def count_tokens(self, model_name: str, messages: Messages, tools: Sequence[Any] = ()) -> TokenEstimate:
        """About how many tokens a chat with these messages (and ``tools``) is: an estimate, and it says so.

        Groq counts no tokens beforehand, and its models have tokenizers of many kinds: this goes by the length of the
        text alone, whichever the model. How many they were is in the ``usage`` of the answer.
        """
        return estimate_tokens(messages, tools)

    async def acount_tokens(self, model_name: str, messages: Messages, tools: Sequence[Any] = ()) -> TokenEstimate:
        """The awaitable twin of `count_tokens`."""
        return estimate_tokens(messages, tools)

    async def _answer(self, client: AsyncClient, /, prompt: Messages, model: str, **options: Any) -> dict[str, Any]:
        return await self._chat(client, model, prompt, **options)

    def create_groq_endpoint_handler(
        self, model: str = "openai/gpt-oss-20b", **options: Any
    ) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["text"]``, or ``(await handler("Hello"))["text"]``.

        It takes a text or a list of messages; ``options`` given here hold for each call unless it has its own.
        """
        return self._handler(type(self)._answer, model=model, **options)


def _entry(model: ModelInfo) -> dict[str, Any]:
    category = _category(model.id)
    window = model.raw.get("context_window")
    described = f"{category} model"
    if model.owner:
        described += f" by {model.owner}"
    if window:
        described += f", context of {window:,} tokens"
    return {
        "id": model.id,
        "description": model.raw.get("description") or described,
        "context_window": window,
        "category": category,
        "owned_by": model.owner,
        "created": model.created,
        "raw": model.raw,
    }


def _category(name: str) -> str:
    name = name.lower()
    if any(mark in name for mark in _AUDIO):
        return "audio"
    return "vision" if any(mark in name for mark in _VISION) else "chat"


def _serves(category: str, wanted: str) -> bool:
    return category == wanted or (category == "vision" and wanted == "chat")


def _check(category: str) -> None:
    if category not in CATEGORIES:
        raise ConfigurationError(f"there is no category {category!r}; the categories are: {', '.join(CATEGORIES)}")
