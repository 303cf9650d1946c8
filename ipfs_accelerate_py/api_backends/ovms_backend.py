"""`ovms`: OpenVINO Model Server, and other servers that speak the Open Inference Protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.ovms_inputs import needs_declaration, tensors
from ipfs_accelerate_py.api_backends.results import text_result, usage
from ipfs_accelerate_py.api_backends.streams import AsyncPieces, Pieces
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Chatting, Completing, Embedding, Messages, asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.dialects import tfs
from ipfs_accelerate_py.dialects.oip import dialect as oip
from ipfs_accelerate_py.dialects.oip.tensors import nested
from ipfs_accelerate_py.dialects.ovms.metrics import read_metrics, statistics
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, ModelNotFound, UnsupportedOperation
from ipfs_accelerate_py.types import Reply

__all__ = ["ovms"]

#: What holds for the question of a model's inputs as it does for the inference it is asked for.
_OF_A_CALL = ("api_key_name", "headers", "priority", "timeout", "timeouts")


class ovms(Chatting, Completing, Embedding):  # noqa: N801  # the older API's name
    """OpenVINO Model Server.

    ::

        api = ovms(metadata={"ovms_api_url": "http://localhost:8000", "ovms_model": "resnet"})
        api.infer("resnet", {"input": [[1.0, 2.0]]})["outputs"]["output"]
        api.chat("meta-llama/Llama-3.2-1B", [{"role": "user", "content": "Hello"}])["text"]

    URL: ``ovms_api_url`` in the metadata, or ``OVMS_API_URL``; ``grpc://host:port`` asks by gRPC (inferences, metadata
    and status only). Key, where the server asks for one: ``ovms_api_key``, or ``OVMS_API_KEY``. What calls leave out, a
    model, its version, the datatype of floats: ``ovms_model``, ``ovms_version``, ``ovms_precision``, or ``OVMS_MODEL``
    and so on.
    """

    _service: ClassVar[str] = "ovms"

    def __init__(
        self,
        resources: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(resources, metadata, **settings)
        # Datatypes of models' inputs, by server, model and version; kept on the portal's loop.
        self._declared: dict[tuple[str, str, str], dict[str, str]] = {}

    # --- inferences ----------------------------------------------------------------------------------------------

    async def _infer(
        self,
        client: AsyncClient,
        /,
        model: str | None = None,
        data: Any = None,
        inputs: Any = None,
        version: str | int | None = None,
        protocol: str | None = None,
        precision: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One inference: a dictionary with ``outputs`` (nested lists by name), ``output`` (of a model with just one),
        ``model``, ``version``, ``tensors`` (name, datatype, shape).

        ``data`` (or ``inputs``: the same) is a mapping of names to arrays or nested lists, an array or list alone for a
        model with one input, or a list of tensors. What it leaves open, names and datatypes, the server is asked for,
        once a model. ``protocol`` is ``oip`` or ``tfs``; ``precision`` the datatype of floats; other options are those
        of `Client.infer`.
        """
        given = _one_of(data, inputs)
        name, wanted = self._chosen(client, model, version)
        protocol = protocol or client.options["protocol"] or "oip"
        options = asked(options, protocol=protocol)
        if protocol == "tfs" and isinstance(given, Mapping) and given.keys() & {"instances", "inputs"}:
            # A body of TensorFlow Serving's own.
            return _infer_result(await client.infer(name, [], version=wanted, **given, **options), name, wanted)
        precision = precision or client.options["precision"] or ""
        declared: dict[str, str] = {}
        if protocol != "tfs" and needs_declaration(given, precision):
            declared = await self._inputs_of(client, name, wanted, options)
        try:
            reply = await client.infer(name, tensors(given, declared, precision), version=wanted, **options)
        except InvalidRequest:
            # Maybe it is another model by now.
            self._declared.pop((client.base_url, name, wanted), None)
            raise
        return _infer_result(reply, name, wanted)

    infer = blocking(_infer)
    ainfer = awaitable(_infer)

    async def _batch_infer(
        self,
        client: AsyncClient,
        /,
        model: str | None = None,
        batch: Sequence[Any] | None = None,
        version: str | int | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Several inferences at once, each as `infer` takes its data; the answers are in their order.

        Each is a request of its own, behind the same queue. Where one fails the others are called off, and its error is
        raised.
        """
        if isinstance(batch, str | Mapping) or not isinstance(batch, Sequence):
            raise ConfigurationError(f"batch must be a list of inputs, not {type(batch).__name__}")
        return await _all([self._infer(client, model, data, version=version, **options) for data in batch])

    batch_infer = blocking(_batch_infer)
    abatch_infer = awaitable(_batch_infer)

    # --- OpenAI's format -----------------------------------------------------------------------------------------

    async def _chat(
        self,
        client: AsyncClient,
        /,
        model: str | None = None,
        messages: Messages = "",
        temperature: float | None = None,
        max_tokens: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``.

        Other options, the server's own among them, go to it as they are.
        """
        options = asked(options, temperature=temperature, max_tokens=max_tokens)
        name, _ = self._chosen(client, model, None)
        return text_result(await client.chat(name, messages, **options))

    chat = blocking(_chat)
    achat = awaitable(_chat)

    def stream_chat(self, model: str | None, messages: Messages, **options: Any) -> Pieces:
        """A chat answer as it is written: ``for chunk in api.stream_chat(...): chunk["text"]``; the last has ``done``.

        Options are those of ``chat``. The call begins at once.
        """
        return self._pieces(model or "", messages, options)

    def astream_chat(self, model: str | None, messages: Messages, **options: Any) -> AsyncPieces:
        """The same for ``async for``, on any event loop. The call begins with the first piece asked for."""
        return self._async_pieces(model or "", messages, options)

    async def _rerank(
        self,
        client: AsyncClient,
        /,
        model: str | None,
        query: str,
        documents: Sequence[Any],
        top_n: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """``documents`` by how well each answers ``query``: ``results``, best first, with ``index`` and ``score``."""
        name, _ = self._chosen(client, model, None)
        reply = await client.rerank(name, query, documents, **asked(options, top_n=top_n))
        given = list(documents)
        results = [
            {
                "index": ranked.index,
                "score": ranked.score,
                "document": given[ranked.index] if ranked.document is None else ranked.document,
            }
            for ranked in reply.ranking
        ]
        return {"results": results, "model": reply.model or name, "usage": usage(reply.usage), **_of_the_call(reply)}

    rerank = blocking(_rerank)
    arerank = awaitable(_rerank)

    async def _list_models(self, client: AsyncClient, /, **options: Any) -> list[dict[str, Any]]:
        """The models that the server offers in OpenAI's format, each as it describes them (``id`` at least)."""
        return [model.raw for model in await client.models(**options)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    # --- the server and its models -------------------------------------------------------------------------------

    async def _get_model_metadata(
        self,
        client: AsyncClient,
        /,
        model: str | None = None,
        version: str | int | None = None,
        protocol: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """What the server says of a model: ``name``, ``versions``, ``platform``, ``inputs``, ``outputs``.

        With ``protocol="tfs"``, as TensorFlow Serving says it.
        """
        name, wanted = self._chosen(client, model, version)
        if (protocol or client.options["protocol"]) == "tfs":
            path = tfs.model_path(name, wanted, "metadata")
        else:
            path = oip.model_path(name, wanted)
        found: dict[str, Any] = (await client.request(path, method="GET", **options)).raw
        return found

    get_model_metadata = blocking(_get_model_metadata)
    aget_model_metadata = awaitable(_get_model_metadata)

    async def _get_model_status(
        self,
        client: AsyncClient,
        /,
        model: str | None = None,
        version: str | int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """``available`` (whether some version answers), and ``versions``: each with ``version``, ``state`` and why.

        A server without TensorFlow Serving's API does not tell versions; a model that is not ready is an error there.
        """
        name, wanted = self._chosen(client, model, version)
        try:
            if client.base_url.startswith("grpc"):
                raise UnsupportedOperation("TensorFlow Serving's API is REST")
            raw = (await client.request(tfs.model_path(name, wanted), method="GET", **options)).raw
        except ModelNotFound:
            raise
        except (InvalidRequest, UnsupportedOperation):
            # A server without TensorFlow Serving's API: the Open Inference Protocol knows but whether it is ready.
            raw = (await client.request(oip.model_path(name, wanted, "ready"), method="GET", **options)).raw
            return {"model": name, "available": True, "versions": [], "raw": raw}
        versions = [
            {"version": one.get("version"), "state": one.get("state"), **(one.get("status") or {})}
            for one in raw.get("model_version_status") or []
        ]
        available = any(one["state"] == "AVAILABLE" for one in versions)
        return {"model": name, "available": available, "versions": versions, "raw": raw}

    get_model_status = blocking(_get_model_status)
    aget_model_status = awaitable(_get_model_status)

    async def _get_server_statistics(self, client: AsyncClient, /, **options: Any) -> dict[str, Any]:
        """From the server's ``/metrics``: ``total_requests``, ``successful_requests``, ``failed_requests``,
        ``current_requests``, the same by model in ``models``, and every sample in ``metrics``.

        The server has that page only where it was started with its metrics enabled.
        """
        page = (await client.request("/metrics", method="GET", **options)).body
        return statistics(read_metrics(page.decode("utf-8", "replace")))

    get_server_statistics = blocking(_get_server_statistics)
    aget_server_statistics = awaitable(_get_server_statistics)

    # --- handlers ------------------------------------------------------------------------------------------------

    async def _answer(
        self, client: AsyncClient, /, given: Any, model: str | None = None, **options: Any
    ) -> dict[str, Any]:
        if isinstance(given, str) or _is_conversation(given):
            return await self._chat(client, model, given, **options)
        return await self._infer(client, model, given, **options)

    def create_ovms_endpoint_handler(self, model: str | None = None, **options: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler({"input": [[1.0]]})["outputs"]``, or ``(await handler("Hello"))["text"]``.

        A text or a list of messages is a chat, anything else the data of an inference. ``options`` given here hold for
        each call unless it has its own.
        """
        return self._handler(type(self)._answer, model=model, **options)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _chosen(self, client: AsyncClient, model: str | None, version: str | int | None) -> tuple[str, str]:
        default = str(client.options["model"] or "")
        name = model or default
        if not name:
            raise ConfigurationError("name a model, or set ovms_model in the metadata or OVMS_MODEL in the environment")
        if version is not None and version != "":
            return name, str(version)
        return name, str(client.options["version"] or "") if name == default or not default else ""

    async def _inputs_of(
        self, client: AsyncClient, model: str, version: str, options: Mapping[str, Any]
    ) -> dict[str, str]:
        """Datatypes of a model's inputs by name; the server is asked once."""
        key = (client.base_url, model, version)
        found = self._declared.get(key)
        if found is None:
            same = {name: options[name] for name in _OF_A_CALL if name in options}
            said = (await client.request(oip.model_path(model, version), method="GET", **same)).raw
            given = said.get("inputs") if isinstance(said, dict) else None
            found = {one["name"]: one["datatype"] for one in given or [] if one.keys() >= {"name", "datatype"}}
            self._declared[key] = found
        return found


def _one_of(data: Any, inputs: Any) -> Any:
    if (data is None) == (inputs is None):
        raise ConfigurationError("an inference needs data (or inputs, which is the same), and not both")
    return inputs if data is None else data


def _is_conversation(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(isinstance(one, Mapping) and "role" in one for one in given)


def _infer_result(reply: Reply, model: str, version: str) -> dict[str, Any]:
    outputs = {tensor.name: nested(tensor) for tensor in reply.tensors}
    raw = reply.raw if isinstance(reply.raw, dict) else {}
    return {
        "outputs": outputs,
        "output": next(iter(outputs.values())) if len(outputs) == 1 else None,
        "model": reply.model or model,
        "version": str(raw.get("model_version") or version),
        "tensors": [{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in reply.tensors],
        **_of_the_call(reply),
    }


def _of_the_call(reply: Reply) -> dict[str, Any]:
    return {
        "id": reply.id,
        "request_id": reply.request_id,
        "upstream_request_id": reply.upstream_request_id,
        "attempts": reply.attempts,
        "api_key_name": reply.key_name,
        "raw": reply.raw,
    }


async def _all(work: Sequence[Coroutine[Any, Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
