"""`llvm` (`vllm`): an OpenAI-compatible server of your own, such as vLLM or llama.cpp's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.media import Hearing, Speaking
from ipfs_accelerate_py.api_backends.results import media_result, text_result
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import Completing, Embedding, Messages, Streaming, asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ModelNotFound, RuntimeUnavailable
from ipfs_accelerate_py.sync import Client

__all__ = ["llvm", "vllm"]


class llvm(Streaming, Completing, Embedding, Hearing, Speaking):  # noqa: N801  # the older API's name
    """A server of your own that speaks OpenAI's format.

    ::

        api = llvm(metadata={"llvm_endpoint": "http://localhost:8000/v1"})
        api.chat("my-model", [{"role": "user", "content": "Hello"}])["text"]

    URL: ``llvm_endpoint`` in the metadata, or ``LLVM_API_ENDPOINT``; key, where the server asks for one:
    ``llvm_api_key``, or ``LLVM_API_KEY``. ``llvm_server`` (``LLVM_SERVER``) is ``vllm`` or ``llama.cpp``.
    """

    _service: ClassVar[str] = "llvm"

    async def _chat(
        self,
        client: AsyncClient,
        /,
        model: str,
        messages: Messages,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """One chat answer: a dictionary with ``text``, ``model``, ``usage``, ``finish_reason``, ``tool_calls``.

        Other options, the server's own among them (``top_k``, ``min_p``), go to it as they are.
        """
        options = asked(options, temperature=temperature, max_tokens=max_tokens)
        return text_result(await client.chat(model, messages, **options))

    chat = blocking(_chat)
    achat = awaitable(_chat)

    async def _list_models(self, client: AsyncClient, /, **options: Any) -> list[dict[str, Any]]:
        """The models that the server has, each as it describes them (``id`` at least)."""
        return [model.raw for model in await client.models(**options)]

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    async def _count_tokens(
        self, client: AsyncClient, /, model: str, messages: Messages, system: str | None = None, **options: Any
    ) -> int:
        """How many tokens a chat with these messages (and ``tools``) is, as the server's tokenizer counts them.

        vLLM and llama.cpp count in different ways: ``server="llama.cpp"`` (or ``LLVM_SERVER``) says which it is.
        """
        return (await client.count_tokens(model, messages, system=system, **asked(options))).usage.input_tokens

    count_tokens = blocking(_count_tokens)
    acount_tokens = awaitable(_count_tokens)

    async def _rerank(
        self,
        client: AsyncClient,
        /,
        model: str,
        query: str,
        documents: Sequence[Any],
        top_n: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """``documents`` by how well each answers ``query``: ``results`` has ``index``, ``score`` and ``document``,
        the best first."""
        reply = await client.rerank(model, query, documents, **asked(options, top_n=top_n))
        results = [
            {"index": each.index, "score": each.score, "document": documents[each.index]} for each in reply.ranking
        ]
        return media_result(reply, results=results)

    rerank = blocking(_rerank)
    arerank = awaitable(_rerank)

    async def _run_inference(
        self,
        client: AsyncClient,
        /,
        model: str,
        inputs: str | Sequence[Any],
        parameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a model on ``inputs``: a text is completed, a list of messages is answered.

        ``parameters`` are options under the server's names. Returns what ``completions`` or ``chat`` returns.
        """
        options = {**(parameters or {}), **options}
        if isinstance(inputs, str):
            return await self._completions(client, model, inputs, **options)
        return await self._chat(client, model, inputs, **options)

    run_inference = blocking(_run_inference)
    arun_inference = awaitable(_run_inference)

    async def _answer(
        self, client: AsyncClient, /, prompt: Messages, model: str | None, **options: Any
    ) -> dict[str, Any]:
        if model is None:
            models = await client.models()
            if not models:
                raise ModelNotFound("the server has no model", backend=self._service)
            model = models[0].id
        return await self._chat(client, model, prompt, **options)

    def create_llvm_endpoint_handler(self, model: str | None = None, **options: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["text"]``, or ``(await handler("Hello"))["text"]``.

        It takes a text or a list of messages; ``options`` given here hold for each call unless it has its own. Without
        ``model``, each call asks the server what it has and takes the first: most servers have one.
        """
        return self._handler(type(self)._answer, model=model, **options)

    def _client_of(self, endpoint_id: Any) -> Client:
        client = super()._client_of(endpoint_id)
        if client.base_url == "local":
            raise RuntimeUnavailable(
                "llvm_endpoint is 'local', and this class speaks to a server: set llvm_endpoint (or LLVM_API_ENDPOINT) "
                "to its URL, such as http://localhost:8000/v1; in this process it is Client('local', runtime='llvm')"
            )
        return client


vllm = llvm
