"""What can be asked: the operations, and a request for each.

Messages, tools and options are written as OpenAI's formats write them: it is what most services speak, so for most
calls a translation is the identity. Other dialects translate from it.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, TypeAlias

import msgspec

from ipfs_accelerate_py.results import Tensor

__all__ = [
    "ChatRequest",
    "ClassifyRequest",
    "CompletionRequest",
    "CountRequest",
    "EmbedRequest",
    "ImageRequest",
    "InferRequest",
    "Message",
    "ModelsRequest",
    "ModerationRequest",
    "Operation",
    "Passthrough",
    "RawRequest",
    "Request",
    "RerankRequest",
    "ResponseRequest",
    "SpeechRequest",
    "StoreRequest",
    "TaskRequest",
    "TranscriptionRequest",
]

Message: TypeAlias = dict[str, Any]
"""One chat message in OpenAI's shape: ``{"role": ..., "content": str | list of parts, ...}``."""


class Operation(enum.StrEnum):
    """What is asked of a backend."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSE = "response"
    EMBED = "embed"
    RERANK = "rerank"
    CLASSIFY = "classify"
    COUNT = "count"
    TRANSCRIBE = "transcribe"
    SPEAK = "speak"
    IMAGE = "image"
    MODERATE = "moderate"
    INFER = "infer"
    TASK = "task"
    STORE = "store"
    MODELS = "models"
    RAW = "raw"


# `options` holds what the caller set beside the named fields, under OpenAI's names. What is not set is not there, so
# it is not sent; what we do not know is there all the same, so it passes through.


class ChatRequest(msgspec.Struct):
    """A chat completion: ``messages`` in OpenAI's shape."""

    operation: ClassVar[Operation] = Operation.CHAT

    model: str
    messages: list[Message]
    options: dict[str, Any] = {}


class CompletionRequest(msgspec.Struct):
    """A plain text completion: ``prompt`` is a text, several texts, or token ids."""

    operation: ClassVar[Operation] = Operation.COMPLETION

    model: str
    prompt: str | list[Any]
    options: dict[str, Any] = {}


class ResponseRequest(msgspec.Struct):
    """A call of OpenAI's Responses API: ``input`` is a text or a list of items."""

    operation: ClassVar[Operation] = Operation.RESPONSE

    model: str
    input: str | list[Any]
    options: dict[str, Any] = {}


class EmbedRequest(msgspec.Struct):
    """Embeddings of several inputs: texts, or lists of token ids."""

    operation: ClassVar[Operation] = Operation.EMBED

    model: str
    input: list[Any]
    options: dict[str, Any] = {}


class RerankRequest(msgspec.Struct):
    """Order ``documents`` (texts, or objects with a ``text``) by how well each answers ``query``.

    Options: ``top_n``, ``return_documents``, and what the service has beside them.
    """

    operation: ClassVar[Operation] = Operation.RERANK

    model: str
    query: str
    documents: list[Any]
    options: dict[str, Any] = {}


class ClassifyRequest(msgspec.Struct):
    """Labels for each input: a text, or a pair of texts as a list of two."""

    operation: ClassVar[Operation] = Operation.CLASSIFY

    model: str
    input: list[Any]
    options: dict[str, Any] = {}


class CountRequest(msgspec.Struct):
    """How many tokens a chat request would be. ``messages`` in OpenAI's shape; ``tools`` among the options."""

    operation: ClassVar[Operation] = Operation.COUNT

    model: str
    messages: list[Message]
    options: dict[str, Any] = {}


class TranscriptionRequest(msgspec.Struct):
    """The text of a recording; with ``translate``, in English. ``filename``'s ending tells the service the format.

    Options: ``language``, ``prompt``, ``response_format``, ``temperature``, ``timestamp_granularities``.
    """

    operation: ClassVar[Operation] = Operation.TRANSCRIBE

    model: str
    audio: bytes
    filename: str = "audio.wav"
    translate: bool = False
    options: dict[str, Any] = {}


class SpeechRequest(msgspec.Struct):
    """``input`` spoken aloud. Options: ``voice``, ``response_format``, ``speed``, ``instructions``."""

    operation: ClassVar[Operation] = Operation.SPEAK

    model: str
    input: str
    options: dict[str, Any] = {}


class ImageRequest(msgspec.Struct):
    """Images for a prompt. Options: ``n``, ``size``, ``quality``, ``style``, ``response_format``."""

    operation: ClassVar[Operation] = Operation.IMAGE

    model: str
    prompt: str
    options: dict[str, Any] = {}


class ModerationRequest(msgspec.Struct):
    """A verdict on each input (texts, or OpenAI's parts with images)."""

    operation: ClassVar[Operation] = Operation.MODERATE

    model: str
    input: list[Any]
    options: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """Tensors in, tensors out: a model server's own call.

    ``version`` is a version of the model, or empty for the server's choice. Options: ``outputs`` (names wanted),
    ``parameters``, ``id``; ``binary`` (send and ask for raw bytes rather than JSON numbers).
    """

    operation: ClassVar[Operation] = Operation.INFER

    model: str
    inputs: list[Tensor]
    version: str = ""
    options: dict[str, Any] = {}


class TaskRequest(msgspec.Struct):
    """Any task of a model on this machine, by Hugging Face's name of it: ``fill-mask``, ``object-detection``, ...

    ``input`` holds one entry per input, each of the shape that the task takes (a text, a mapping, the bytes of an image
    or a recording; see ``docs/tasks.md``). An empty ``task`` is the model's own.
    """

    operation: ClassVar[Operation] = Operation.TASK

    model: str
    input: list[Any]
    task: str = ""
    options: dict[str, Any] = {}


class StoreRequest(msgspec.Struct):
    """One verb of a store of objects (``upload_file``, ``list_objects``, ...) with its arguments."""

    operation: ClassVar[Operation] = Operation.STORE

    verb: str
    arguments: dict[str, Any] = {}
    model: str = ""
    options: dict[str, Any] = {}


class ModelsRequest(msgspec.Struct):
    """The list of models a backend offers."""

    operation: ClassVar[Operation] = Operation.MODELS

    model: str = ""
    options: dict[str, Any] = {}


class RawRequest(msgspec.Struct):
    """A request for a path or full URL of the backend, sent as it is (the older API's ``make_post_request``).

    ``body`` is written as JSON, unless it is `bytes`: those are sent as ``content_type``. ``once`` is for requests that
    make something each time they are sent: no connection that may be gone already is used for them.
    """

    operation: ClassVar[Operation] = Operation.RAW

    path: str
    body: Any = None
    method: str = "POST"
    model: str = ""
    content_type: str = "application/json"
    options: dict[str, Any] = {}
    once: bool = False


Request: TypeAlias = (
    ChatRequest
    | CompletionRequest
    | ResponseRequest
    | EmbedRequest
    | RerankRequest
    | ClassifyRequest
    | CountRequest
    | TranscriptionRequest
    | SpeechRequest
    | ImageRequest
    | ModerationRequest
    | InferRequest
    | TaskRequest
    | StoreRequest
    | ModelsRequest
    | RawRequest
)


class Passthrough(msgspec.Struct):
    """A body that is already in a dialect's own format, to be forwarded without being decoded and encoded again.

    ``body`` is the final JSON, model name and stream options already those of the target. ``hide_usage`` says that the
    stream options were ours, and that the caller must not see the event they bring. ``headers`` are those of the
    caller's that say how the body is to be read (``anthropic-beta``).
    """

    dialect: str
    body: bytes
    hide_usage: bool = False
    headers: dict[str, str] | None = None
