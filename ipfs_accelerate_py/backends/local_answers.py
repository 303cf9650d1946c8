"""Requests of the vocabulary as jobs of a loaded model, and what it has done as replies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import InvalidRequest, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.results import Audio, Labels, Ranking, TaskResult, Text, Transcript, Vector
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    CountRequest,
    EmbedRequest,
    Operation,
    Reply,
    RerankRequest,
    ResponseRequest,
    SpeechRequest,
    TaskRequest,
    TranscriptionRequest,
    Usage,
)

if TYPE_CHECKING:
    from ipfs_accelerate_py.runtimes.serving.jobs import Done, Job

__all__ = ["STREAMED", "job_of", "read_done"]

#: What can be asked for as a stream.
STREAMED = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.TASK})

#: They change nothing of an answer that is computed here.
_HINTS = frozenset({"user", "metadata", "service_tier", "store", "safety_identifier", "prompt_cache_key"})
#: How an answer is written, which is for whoever writes it.
_FORMS = frozenset({"encoding_format", "response_format", "timestamp_granularities", "return_documents"})
#: How something is said; models here that have one voice take none of them.
_VOICES = frozenset({"voice", "instructions", "speed"})
_CONVERSED = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.COUNT})

_ABLE = "embed, chat, complete, respond, rerank, classify, transcribe, speak, count_tokens, run (any task) and models"


def job_of(call: Call) -> tuple[Job, tuple[str, ...]]:
    """The job, and names of options that were left out because no answer depends on them.

    Raises:
        UnsupportedOperation: no model here does that, with what there is.
        InvalidRequest: a field that is wrong.
    """
    from ipfs_accelerate_py.runtimes.serving.jobs import Job

    request = call.request
    if call.stream and call.operation not in STREAMED:
        raise UnsupportedOperation(f"the local backend does not stream {call.operation}")
    # A conversation knows its own hints, and leaves them out by itself.
    hints = () if call.operation in _CONVERSED else sorted(_HINTS & request.options.keys())
    options = {name: value for name, value in request.options.items() if name not in hints and value is not None}
    task, inputs = _work(request, options, call.operation)
    priority = int(call.priority)
    return Job(task=task, inputs=inputs, options=options, priority=priority, request_id=call.request_id), tuple(hints)


def _work(request: Any, options: dict[str, Any], operation: Operation) -> tuple[str, list[Any]]:
    """Task and inputs; options are changed into the task's."""
    if isinstance(request, ChatRequest):
        return "chat", request.messages
    if isinstance(request, CompletionRequest):
        return "completion", [_prompt(request.prompt)]
    if isinstance(request, CountRequest):
        return "count", request.messages
    if isinstance(request, ResponseRequest):
        return "chat", _as_chat(request, options)
    if isinstance(request, EmbedRequest):
        options.pop("encoding_format", None)
        if str(options.pop("truncation_direction", "right")).lower() != "right":
            raise InvalidRequest(
                "truncation_direction: texts are cut at their end here", status=400, param="truncation_direction"
            )
        return "sentence-similarity", request.input
    if isinstance(request, RerankRequest):
        if options.get("return_documents") is False:
            del options["return_documents"]
        _raw_scores(options)
        return "text-ranking", [{"query": request.query, "documents": request.documents}]
    if isinstance(request, ClassifyRequest):
        _raw_scores(options)
        return ("zero-shot-classification" if "candidate_labels" in options else "text-classification"), request.input
    if isinstance(request, TranscriptionRequest):
        if request.translate:
            options["task"] = "translate"
        return "automatic-speech-recognition", [request.audio]
    if isinstance(request, SpeechRequest):
        _check_speech(options)
        return "text-to-audio", [request.input]
    if isinstance(request, TaskRequest):
        return request.task, request.input
    if operation is Operation.IMAGE:
        raise UnsupportedOperation(
            "no model makes images of texts here: Transformers has none that does by itself (those are in Diffusers). "
            "The task image-to-image (run) changes an image"
        )
    raise UnsupportedOperation(f"the local backend has no operation {operation} (it has: {_ABLE})")


def _prompt(prompt: Any) -> Any:
    """One text, or one list of token ids."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and prompt and all(type(each) is int for each in prompt):
        return prompt
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        return prompt[0]
    raise InvalidRequest(
        "prompt is one text, or one list of token ids; ask for several side by side", status=400, param="prompt"
    )


def _as_chat(request: ResponseRequest, options: dict[str, Any]) -> list[Any]:
    from ipfs_accelerate_py.dialects.openai.responses import chat_request

    asked = chat_request(request.model, {"input": request.input, **options})
    options.clear()
    options.update(asked.chat.options)
    return asked.chat.messages


def _raw_scores(options: dict[str, Any]) -> None:
    """TEI's words for the model's own logits, and for cutting a text to what the model takes."""
    if options.pop("raw_scores", False):
        options["function_to_apply"] = "none"
    if options.get("truncate") is True:
        del options["truncate"]  # it is done anyway


def _check_speech(options: dict[str, Any]) -> None:
    options.pop("response_format", None)
    if options.get("voice") in ("", "alloy", "default"):
        del options["voice"]  # what clients send that must send something
    if options.get("speed") == 1:
        del options["speed"]


async def read_done(call: Call, done: Done) -> Reply:
    """The reply to an operation. Raises `ProtocolError` where a model's result is of another kind."""
    reply = Reply(usage=_usage(done))
    operation, request = call.operation, call.request
    if operation in (Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE):
        return _written(reply, done)
    if operation is Operation.COUNT:
        return reply
    if operation is Operation.TASK:
        reply.results = done.results
        _show(reply, done.results)
        return reply
    if operation is Operation.EMBED:
        reply.vectors = [_of(Vector, result).values for result in done.results]
    elif operation is Operation.CLASSIFY:
        reply.labels = [_of(Labels, result).labels for result in done.results]
    elif operation is Operation.RERANK:
        reply.ranking = _of(Ranking, done.results[0]).ranking
    elif operation is Operation.TRANSCRIBE:
        _transcribed(reply, _of(Transcript, done.results[0]), request.options)
    elif operation is Operation.SPEAK:
        await _spoken(reply, _of(Audio, done.results[0]), request.options)
    return reply


def _usage(done: Done) -> Usage:
    if (chunk := done.chunk) is not None and chunk.usage is not None:
        return chunk.usage
    return Usage(input_tokens=sum(done.input_tokens), output_tokens=done.output_tokens, reported=True)


def _written(reply: Reply, done: Done) -> Reply:
    chunk = done.chunk
    if chunk is None:
        raise ProtocolError("the model answered without a word")
    reply.text, reply.reasoning, reply.refusal = chunk.text, chunk.reasoning, chunk.refusal
    reply.tool_calls, reply.finish_reason = list(chunk.tool_calls), chunk.finish_reason
    if len(done.chunks) > 1:
        reply.raw = {"choices": [_choice(each) for each in done.chunks]}
    return reply


def _choice(chunk: Any) -> dict[str, Any]:
    """One of several, in OpenAI's shape."""
    message: dict[str, Any] = {"role": "assistant", "content": chunk.text or None}
    if chunk.tool_calls:
        message["tool_calls"] = [call.as_dict() for call in chunk.tool_calls]
    return {"index": chunk.index, "message": message, "text": chunk.text, "finish_reason": chunk.finish_reason}


def _show(reply: Reply, results: list[TaskResult]) -> None:
    """What a task's results are in the words of the other operations, for who reads those."""
    first = results[0] if results else None
    if isinstance(first, Text) and len(results) == 1:
        reply.text, reply.finish_reason = first.text, first.finish_reason
    elif isinstance(first, Transcript) and len(results) == 1:
        reply.text, reply.segments = first.text, first.segments
    elif isinstance(first, Vector):
        reply.vectors = [_of(Vector, each).values for each in results]
    elif isinstance(first, Labels):
        reply.labels = [_of(Labels, each).labels for each in results]
    elif isinstance(first, Ranking) and len(results) == 1:
        reply.ranking = first.ranking


def _transcribed(reply: Reply, found: Transcript, options: Mapping[str, Any]) -> None:
    reply.text, reply.segments = found.text, found.segments
    raw: dict[str, Any] = {"text": found.text}
    if options.get("response_format") == "verbose_json":
        raw |= {"task": "transcribe", "language": found.language, "duration": found.duration}
        raw["segments"] = [
            {"id": at, "start": each.start, "end": each.end, "text": each.text}
            for at, each in enumerate(found.segments)
        ]
        if found.words:
            raw["words"] = [{"word": each.text, "start": each.start, "end": each.end} for each in found.words]
    reply.raw = raw


async def _spoken(reply: Reply, audio: Audio, options: Mapping[str, Any]) -> None:
    from ipfs_accelerate_py.runtimes.processing.sound_formats import encode_audio

    # OpenAI's own default is mp3, which not every build of libsndfile writes.
    form = str(options.get("response_format") or "wav")
    reply.body, reply.content_type = await asyncio.to_thread(encode_audio, audio, form)


def _of(kind: Any, result: TaskResult) -> Any:
    if not isinstance(result, kind):
        raise ProtocolError(f"the model gave {type(result).__name__} where {kind.__name__} was asked for")
    return result
