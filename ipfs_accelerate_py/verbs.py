"""The verbs: what can be asked of a backend, in the words of its callers. One list for every kind of client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.batch_jobs.face import BatchVerbs
from ipfs_accelerate_py.calls import Maker, make_call
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.reply_stream import ReplyStream
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    CountRequest,
    EmbedRequest,
    ImageRequest,
    InferRequest,
    Message,
    ModelInfo,
    ModelsRequest,
    ModerationRequest,
    Operation,
    RawRequest,
    Reply,
    RerankRequest,
    ResponseRequest,
    SpeechRequest,
    StoreRequest,
    TaskRequest,
    Tensor,
    TranscriptionRequest,
)

__all__ = ["AsyncVerbs", "chat_messages"]


class AsyncVerbs(BatchVerbs, ABC):
    """Options of a call that are not named in its signature go to the service as they are, under OpenAI's names.

    Every call takes ``priority`` ("HIGH", "NORMAL", "LOW"), ``request_id``, ``api_key_name`` (use this key and no
    other), ``timeout`` (seconds for the whole call, queue and retries included), ``timeouts`` (limits of an attempt),
    or the limits of time one by one as the settings call them (``first_content_timeout=6``), and ``headers``;
    ``tenant`` (who pays), ``session`` (calls of one session stay with one target, where a router is told so),
    ``cache`` ("off", "refresh" or "on", for this call), ``mid_stream`` (see `Alias`) and ``tags`` (the caller's own
    marks in the ledger, short texts by name).

    What the service has no counterpart of raises `UnsupportedOperation`, and nothing is sent.
    """

    settings: Settings

    @abstractmethod
    def send(self, call: Call) -> Awaitable[Reply]:
        """A prepared `Call` (the gateway's way in)."""

    # --- text ----------------------------------------------------------------------------------------------------

    async def chat(
        self, /, model: str, messages: str | Sequence[Message], *, system: str | None = None, **options: Any
    ) -> Reply:
        """One chat answer. ``messages`` is a text or a list of messages in OpenAI's shape."""
        return await self._ask(
            Operation.CHAT, options, lambda rest: ChatRequest(model, chat_messages(messages, system), rest)
        )

    def stream(
        self, /, model: str, messages: str | Sequence[Message], *, system: str | None = None, **options: Any
    ) -> ReplyStream:
        """A chat answer as it is written: iterate over its chunks."""
        return self._stream(
            Operation.CHAT, options, lambda rest: ChatRequest(model, chat_messages(messages, system), rest)
        )

    async def complete(self, /, model: str, prompt: str | list[Any], **options: Any) -> Reply:
        """One plain completion of ``prompt``."""
        return await self._ask(Operation.COMPLETION, options, lambda rest: CompletionRequest(model, prompt, rest))

    def stream_complete(self, /, model: str, prompt: str | list[Any], **options: Any) -> ReplyStream:
        """A plain completion as it is written."""
        return self._stream(Operation.COMPLETION, options, lambda rest: CompletionRequest(model, prompt, rest))

    async def respond(self, /, model: str, input: str | list[Any], **options: Any) -> Reply:
        """One answer of the Responses API."""
        return await self._ask(Operation.RESPONSE, options, lambda rest: ResponseRequest(model, input, rest))

    def stream_respond(self, /, model: str, input: str | list[Any], **options: Any) -> ReplyStream:
        """An answer of the Responses API as it is written; `Chunk.event` is the event's name."""
        return self._stream(Operation.RESPONSE, options, lambda rest: ResponseRequest(model, input, rest))

    async def count_tokens(
        self, /, model: str, messages: str | Sequence[Message], *, system: str | None = None, **options: Any
    ) -> Reply:
        """How many tokens a chat with these messages (and ``tools``) is, in ``reply.usage.input_tokens``."""
        return await self._ask(
            Operation.COUNT, options, lambda rest: CountRequest(model, chat_messages(messages, system), rest)
        )

    # --- vectors, scores and labels ------------------------------------------------------------------------------

    async def embed(self, /, model: str, input: str | Sequence[Any], **options: Any) -> Reply:
        """Embeddings: ``reply.vectors`` holds one list of floats per input, in order. A lone text is one input."""
        inputs = _listed(input, "embed")
        if isinstance(inputs[0], int):
            inputs = [inputs]  # token ids of one text
        return await self._ask(Operation.EMBED, options, lambda rest: EmbedRequest(model, inputs, rest))

    async def rerank(self, /, model: str, query: str, documents: Sequence[Any], **options: Any) -> Reply:
        """``documents`` (texts, or objects with a ``text``) by how well each answers ``query``.

        ``reply.ranking`` is sorted, the best first; `Ranked.index` is the place in ``documents``. ``top_n`` limits it.
        """
        if not isinstance(query, str):
            raise ConfigurationError(f"the query must be a text, not {type(query).__name__}")
        given = _listed(documents, "rerank")
        return await self._ask(Operation.RERANK, options, lambda rest: RerankRequest(model, query, given, rest))

    async def classify(self, /, model: str, input: str | Sequence[Any], **options: Any) -> Reply:
        """Labels with scores, the highest first: ``reply.labels`` holds a list for each input, in order."""
        inputs = _listed(input, "classify")
        return await self._ask(Operation.CLASSIFY, options, lambda rest: ClassifyRequest(model, inputs, rest))

    async def moderate(self, /, model: str, input: str | Sequence[Any], **options: Any) -> Reply:
        """A verdict on each input, in order, in ``reply.moderations``."""
        inputs = _listed(input, "moderate")
        return await self._ask(Operation.MODERATE, options, lambda rest: ModerationRequest(model, inputs, rest))

    # --- sound and images ----------------------------------------------------------------------------------------

    async def transcribe(
        self, /, model: str, audio: bytes, *, filename: str = "audio.wav", translate: bool = False, **options: Any
    ) -> Reply:
        """The text of a recording in ``reply.text``; ``reply.segments`` where times were asked for.

        ``filename``'s ending tells the service the format; ``translate`` asks for the text in English.
        """
        if not isinstance(audio, bytes | bytearray | memoryview):
            raise ConfigurationError(f"audio must be the recording's bytes, not {type(audio).__name__}")
        data = bytes(audio)
        return await self._ask(
            Operation.TRANSCRIBE, options, lambda rest: TranscriptionRequest(model, data, filename, translate, rest)
        )

    async def speak(self, /, model: str, input: str, **options: Any) -> Reply:
        """``input`` spoken aloud: the recording is ``reply.body``, of the type ``reply.content_type``."""
        return await self._ask(Operation.SPEAK, options, lambda rest: SpeechRequest(model, input, rest))

    async def generate_images(self, /, model: str, prompt: str, **options: Any) -> Reply:
        """Images for a prompt, in ``reply.images``: each has a URL or its bytes."""
        return await self._ask(Operation.IMAGE, options, lambda rest: ImageRequest(model, prompt, rest))

    # --- everything else -----------------------------------------------------------------------------------------

    async def run(self, /, model: str, input: Any, *, task: str | None = None, **options: Any) -> Reply:
        """Any task of a model on this machine: ``reply.results`` holds one typed result per input, in order.

        ``task`` is Hugging Face's name of it (``fill-mask``, ``object-detection``, ...), or None for the model's own. A
        list (but no tuple) is several inputs, anything else one; what an input of a task looks like is in
        ``docs/tasks.md``. ``reply.text``, ``reply.vectors``, ``reply.labels`` are filled where the results are such.
        """
        inputs = _inputs(input)
        return await self._ask(Operation.TASK, options, lambda rest: TaskRequest(model, inputs, task or "", rest))

    def stream_run(self, /, model: str, input: Any, *, task: str | None = None, **options: Any) -> ReplyStream:
        """A task that writes (``summarization``, ``translation``, ...), as it is written."""
        inputs = _inputs(input)
        return self._stream(Operation.TASK, options, lambda rest: TaskRequest(model, inputs, task or "", rest))

    async def infer(self, /, model: str, inputs: Sequence[Tensor], *, version: str = "", **options: Any) -> Reply:
        """Tensors in, tensors out (``reply.tensors``): the Open Inference Protocol's own call."""
        tensors = list(inputs)
        return await self._ask(Operation.INFER, options, lambda rest: InferRequest(model, tensors, version, rest))

    async def store(self, verb: str, /, **arguments: Any) -> Reply:
        """One verb of a store of objects (``upload_file``, ``list_objects``, ...); its result is ``reply.raw``."""
        return await self._ask(Operation.STORE, arguments, lambda rest: StoreRequest(verb, rest))

    async def models(self, /, **options: Any) -> list[ModelInfo]:
        """The models that the backend offers."""
        return (await self._ask(Operation.MODELS, options, lambda rest: ModelsRequest(options=rest))).models

    async def request(
        self,
        /,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        content_type: str = "application/json",
        **options: Any,
    ) -> Reply:
        """Any request of the service, through the same pipeline; the answer is in ``reply.raw``, or ``reply.body``.

        ``path`` is joined to the base URL, or is a full URL on the same host. ``body`` is written as JSON, unless it
        is `bytes`: those are sent as ``content_type``.
        """
        return await self._ask(Operation.RAW, options, _raw(path, body, method, content_type))

    def stream_request(
        self,
        /,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        content_type: str = "application/json",
        **options: Any,
    ) -> ReplyStream:
        """The same for an answer that comes in events or lines: each is a chunk, decoded in ``chunk.raw``."""
        return self._stream(Operation.RAW, options, _raw(path, body, method, content_type))

    # --- making calls --------------------------------------------------------------------------------------------

    def _ask(self, operation: Operation, options: dict[str, Any], request: Maker) -> Awaitable[Reply]:
        if options.pop("stream", False):
            raise ConfigurationError("a streaming answer has a verb of its own: client.stream(...)")
        return self.send(self._call(operation, options, request))

    def _stream(self, operation: Operation, options: dict[str, Any], request: Maker) -> ReplyStream:
        options.pop("stream", None)
        return ReplyStream(self.send, self._call(operation, options, request, stream=True))

    def _call(self, operation: Operation, options: dict[str, Any], request: Maker, *, stream: bool = False) -> Call:
        return make_call(self.settings, operation, options, request, stream=stream)


def chat_messages(messages: str | Sequence[Message], system: str | None = None) -> list[Message]:
    """A text or a list of messages as a list of messages, the system text first."""
    if isinstance(messages, str):
        made: list[Message] = [{"role": "user", "content": messages}]
    else:
        made = list(messages) if isinstance(messages, Iterable) else [messages]
        for message in made:
            if not isinstance(message, Mapping):
                raise ConfigurationError(
                    'messages must be a text or a list of {"role": ..., "content": ...}, '
                    f"not {type(messages).__name__ if made[0] is messages else 'of ' + type(message).__name__}"
                )
    if not made:
        raise ConfigurationError("messages is empty")
    return [{"role": "system", "content": system}, *made] if system else made


def _listed(given: Any, verb: str) -> list[Any]:
    if not isinstance(given, str | Iterable):
        raise ConfigurationError(f"{verb} takes a text or a list of texts, not {type(given).__name__}")
    made: list[Any] = [given] if isinstance(given, str) else list(given)
    if not made:
        raise ConfigurationError(f"{verb} was given no input")
    return made


def _inputs(given: Any) -> list[Any]:
    made = list(given) if isinstance(given, list) else [given]
    if not made:
        raise ConfigurationError("run was given no input")
    return made


def _raw(path: str, body: Any, method: str, content_type: str) -> Maker:
    name = body.get("model", "") if isinstance(body, dict) else ""
    model = name if isinstance(name, str) else ""
    return lambda rest: RawRequest(path, body, method, model, content_type, rest)
