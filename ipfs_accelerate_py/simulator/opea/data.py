"""The microservices with formats of their own: reranking, retrieval, and the preparation of documents."""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.simulator.text import generate, unit
from ipfs_accelerate_py.simulator.wire import Answer, Problem, Refused, Request, Settings

from .checks import body_of, check, invalid, required
from .forms import form_of

__all__ = ["Documents", "rerank"]

_encode = msgspec.json.Encoder().encode


def rerank(request: Request, settings: Settings) -> Answer:
    """The best ``top_n`` texts, one where it is not said; without the places that they had."""
    body = body_of(request)
    query = body.get("input") if "input" in body else required(body, "initial_query")
    if not isinstance(query, str):
        invalid("input", "Input should be a valid string", "string_type", query)
    given = required(body, "retrieved_docs")
    if not isinstance(given, list):
        invalid("retrieved_docs", "Input should be a valid list", "list_type", given)
    check(body)
    texts = [each.get("text", "") if isinstance(each, dict) else each for each in given]
    scored = [{"text": text, "score": unit(query.encode() + b"\0" + text.encode(), settings.seed)} for text in texts]
    scored.sort(key=lambda one: -one["score"])
    best = scored[: body.get("top_n") or 1]
    if "initial_query" in body:
        return Answer(body=_encode({"query": query, "documents": [one["text"] for one in best]}))
    return Answer(body=_encode({"reranked_docs": best}))


class Documents:
    """What was ingested, and is found again."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def answer(self, verb: str, request: Request, settings: Settings) -> Answer:
        if verb == "ingest":
            return self._ingest(request)
        body = request.body if isinstance(request.body, dict) else {}
        if verb == "get":
            listed = [{"name": name, "id": name, "type": "File", "parent": ""} for name in self._texts]
            return Answer(body=_encode(listed))
        return self._delete(body)

    def _ingest(self, request: Request) -> Answer:
        form = form_of(request) or []
        files = [part for part in form if part.name == "files" and part.filename]
        links = next((part.text for part in form if part.name == "link_list"), None)
        if not files and links is None:
            raise Refused(Problem(400, "Must provide either a file or a string list."))
        if links is not None:
            try:
                given = msgspec.json.decode(links.encode(), type=list[str])
            except msgspec.DecodeError:
                raise Refused(Problem(400, f"Link_list {links} should be a list.")) from None
            for link in given:
                self._texts[f"{link}.txt"] = "".join(generate(link.encode(), 20))
        for part in files:
            assert part.filename is not None
            self._texts[part.filename] = part.text
        return Answer(body=_encode({"status": 200, "message": "Data preparation succeeded"}))

    def _delete(self, body: dict[str, Any]) -> Answer:
        path = required(body, "file_path")
        if path == "all":
            self._texts.clear()
        elif path in self._texts:
            del self._texts[path]
        else:
            raise Refused(Problem(404, "File not found in db rag-redis. Please check file_path."))
        return Answer(body=_encode({"status": True}))

    def retrieve(self, request: Request, settings: Settings) -> Answer:
        """The ``k`` documents that the hash likes best, of those ingested."""
        body = body_of(request)
        check(body)
        required(body, "embedding")
        query = body.get("input") or body.get("text") or ""
        found = sorted(self._texts.items(), key=lambda one: -unit(f"{query}\0{one[1]}".encode(), settings.seed))
        found = found[: body.get("k") or 4]
        if "text" in body:
            docs: list[Any] = [{"id": name, "text": text} for name, text in found]
            return Answer(body=_encode({"retrieved_docs": docs, "initial_query": query, "top_n": 1}))
        docs = [{"text": text, "metadata": {"source": name}} for name, text in found]
        return Answer(body=_encode({"retrieved_docs": docs}))
