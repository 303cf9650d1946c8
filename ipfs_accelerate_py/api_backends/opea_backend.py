"""`opea`: the megaservices and microservices of the Open Platform for Enterprise AI."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from mimetypes import guess_type
from pathlib import Path
from typing import IO, Any, ClassVar, TypeAlias

from ipfs_accelerate_py.api_backends.results import text_result
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Chatting, Embedding, Messages, asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.dialects.forms import Part, encode_form
from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError
from ipfs_accelerate_py.types import Reply

__all__ = ["opea"]

#: A path, the bytes themselves, a name with its bytes, or an open file.
File: TypeAlias = "str | os.PathLike[str] | bytes | tuple[str, bytes] | IO[bytes]"
_CALL_OPTIONS = ("priority", "request_id", "api_key_name", "timeout", "timeouts", "headers")


class opea(Chatting, Embedding):  # noqa: N801  # the older API's name
    """OPEA.

    ::

        api = opea(metadata={"opea_endpoint": "http://localhost:8888"})
        api.dataprep(files=["handbook.pdf"])
        api.chat("How long is the warranty?")["text"]

    URL: ``opea_endpoint`` in the metadata, or ``OPEA_API_ENDPOINT``; key, where a gateway asks for one:
    ``opea_api_key``, or ``OPEA_API_KEY``. ``service=`` (here, or with a call) names the service that is chatted with:
    ``chatqna`` unless told otherwise, ``chat/completions`` for the model itself.
    """

    _service: ClassVar[str] = "opea"

    async def _chat(
        self,
        client: AsyncClient,
        /,
        messages: Messages,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        service: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One answer: a dictionary with ``text``, ``model``, ``usage`` (empty: megaservices do not count), ``raw``.

        ``messages`` is a text or a list in OpenAI's shape. The service's own options (``top_n``, ``k``,
        ``search_type``, ``chat_template``, ``index_name``) go to it as they are.
        """
        options = asked(options, temperature=temperature, max_tokens=max_tokens, service=service)
        return text_result(await client.chat(model or "", messages, **options))

    chat = blocking(_chat)
    achat = awaitable(_chat)

    def stream_chat(self, messages: Messages, model: str | None = None, **options: Any) -> Pieces:
        """An answer as it is written: ``for chunk in api.stream_chat(...): chunk["text"]``; the last has ``done``."""
        return self._pieces(model or "", messages, options)

    def astream_chat(self, messages: Messages, model: str | None = None, **options: Any) -> AsyncPieces:
        """The same for ``async for``, on any event loop. The call begins with the first piece asked for."""
        return self._async_pieces(model or "", messages, options)

    async def _codegen(
        self, client: AsyncClient, /, prompt: Messages, model: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Code for a prompt, from the megaservice ``codegen``; the result is ``chat``'s."""
        return await self._chat(client, prompt, model, service="codegen", **options)

    codegen = blocking(_codegen)
    acodegen = awaitable(_codegen)

    async def _summarize(
        self,
        client: AsyncClient,
        /,
        text: str | None = None,
        file: File | Sequence[File] | None = None,
        model: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """A summary of a text, or of files (``.txt``, ``.pdf``, ``.docx``), from the megaservice ``docsum``.

        A file is a path, its bytes, a name with its bytes, or an open file. The service's own options:
        ``summary_type`` ("auto", "stuff", "truncate", "map_reduce", "refine"), ``language``, ``chunk_size``,
        ``chunk_overlap``; with files, ``type`` may be "audio" or "video".
        """
        if file is None:
            if not text:
                raise ConfigurationError("summarize needs a text or a file")
            return await self._chat(client, text, model, service="docsum", **options)
        options = asked(options)
        call = {name: options.pop(name) for name in _CALL_OPTIONS if name in options}
        fields = {"type": "text", "messages": text or "", "stream": False, **options}
        if model:
            fields["model"] = model
        return _summary(await _send_form(client, "/v1/docsum", fields, file, call))

    summarize = blocking(_summarize)
    asummarize = awaitable(_summarize)

    async def _dataprep(
        self,
        client: AsyncClient,
        /,
        files: File | Sequence[File] | None = None,
        links: str | Sequence[str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Have files, or the pages behind links, prepared to be found by ``chatqna``.

        Options of the service: ``chunk_size``, ``chunk_overlap``, ``process_table``, ``table_strategy``,
        ``index_name``. Returns what the service says: ``{"status": 200, "message": ...}``.
        """
        options = asked(options)
        given = options.pop("link_list", links)
        call = {name: options.pop(name) for name in _CALL_OPTIONS if name in options}
        if files is None and not given:
            raise ConfigurationError("dataprep needs files or links")
        if given:
            options["link_list"] = json.dumps([given] if isinstance(given, str) else list(given))
        return _object(await _send_form(client, "/v1/dataprep/ingest", options, files, call))

    dataprep = blocking(_dataprep)
    adataprep = awaitable(_dataprep)

    async def _list_documents(
        self, client: AsyncClient, /, index_name: str | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """What was prepared: ``name``, ``id``, ``type`` and ``parent`` of each file or link."""
        body = {} if index_name is None else {"index_name": index_name}
        listed = (await client.request("/v1/dataprep/get", body, **asked(options))).raw
        if not isinstance(listed, list):
            raise ProtocolError("the upstream's list of documents is not a list", body=listed)
        return listed

    list_documents = blocking(_list_documents)
    alist_documents = awaitable(_list_documents)

    async def _delete_document(
        self, client: AsyncClient, /, file_path: str, index_name: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Forget a document by its ``id``; "all" for every one."""
        body = {"file_path": file_path} | ({} if index_name is None else {"index_name": index_name})
        return _object(await client.request("/v1/dataprep/delete", body, **asked(options)))

    delete_document = blocking(_delete_document)
    adelete_document = awaitable(_delete_document)

    async def _rerank(
        self,
        client: AsyncClient,
        /,
        query: str,
        documents: Sequence[Any],
        top_n: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """``results``: the documents by how well each answers ``query``, with ``index``, ``score``, ``document``."""
        reply = await client.rerank("", query, documents, **asked(options, top_n=top_n))
        results = [{"index": one.index, "score": one.score, "document": one.document} for one in reply.ranking]
        return {"results": results, "request_id": reply.request_id, "attempts": reply.attempts, "raw": reply.raw}

    rerank = blocking(_rerank)
    arerank = awaitable(_rerank)

    async def _retrieve(
        self, client: AsyncClient, /, text: str, embedding: Sequence[float], **options: Any
    ) -> dict[str, Any]:
        """The prepared documents nearest to an embedding: ``retrieved_docs``, each with its ``text``.

        Options of the service: ``k``, ``search_type``, ``fetch_k``, ``score_threshold``, ``distance_threshold``.
        """
        options = asked(options)
        call = {name: options.pop(name) for name in _CALL_OPTIONS if name in options}
        body = {"text": text, "embedding": list(embedding), **options}
        return _object(await client.request("/v1/retrieval", body, **call))

    retrieve = blocking(_retrieve)
    aretrieve = awaitable(_retrieve)

    async def _answer(
        self, client: AsyncClient, /, prompt: Messages, model: str | None = None, **options: Any
    ) -> dict[str, Any]:
        return await self._chat(client, prompt, model, **options)

    def create_opea_endpoint_handler(self, model: str | None = None, **options: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["text"]``, or ``(await handler("Hello"))["text"]``.

        It takes a text or a list of messages; ``options`` given here (``service="codegen"``) hold for each call unless
        it has its own.
        """
        return self._handler(type(self)._answer, model=model, **options)


async def _send_form(
    client: AsyncClient,
    path: str,
    fields: Mapping[str, Any],
    files: File | Sequence[File] | None,
    call: Mapping[str, Any],
) -> Reply:
    parts = [Part(name, _field(value).encode()) for name, value in fields.items() if value is not None]
    parts += await asyncio.to_thread(lambda: [_part(each) for each in _listed(files)])
    body, kind = encode_form(parts)
    return await client.request(path, body, content_type=kind, **call)


def _field(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(files: File | Sequence[File] | None) -> Iterable[File]:
    if files is None:
        return ()
    one = isinstance(files, str | bytes | os.PathLike) or hasattr(files, "read")
    if one or (isinstance(files, tuple) and len(files) == 2 and isinstance(files[1], bytes)):
        return (files,)  # type: ignore[return-value]  # one file in one of its shapes
    return files  # type: ignore[return-value]  # several, as the checks above leave it


def _part(file: File) -> Part:
    if isinstance(file, bytes):
        name, data = "document.txt", file
    elif isinstance(file, tuple):
        name, data = file
    elif isinstance(file, str | os.PathLike):
        path = Path(file)
        try:
            name, data = path.name, path.read_bytes()
        except OSError as problem:
            raise ConfigurationError(f"the file {str(path)!r} cannot be read: {problem.strerror}") from None
    else:
        data = file.read()
        name = Path(str(getattr(file, "name", "document.txt"))).name
    return Part("files", data, name, guess_type(name)[0] or "application/octet-stream")


def _summary(reply: Reply) -> dict[str, Any]:
    """What ``chat`` gives, of an answer that was asked for by a form."""
    raw = _object(reply)
    try:
        reply.text = raw["text"] if "text" in raw else raw["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ProtocolError("the upstream's answer holds no summary", body=raw) from None
    reply.model = str(raw.get("model") or "docsum")
    reply.finish_reason = "stop"
    return text_result(reply)


def _object(reply: Reply) -> dict[str, Any]:
    if not isinstance(reply.raw, dict):
        raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(reply.raw).__name__}")
    raw: dict[str, Any] = reply.raw
    return raw
