"""``/moderations``, and what vLLM, llama.cpp and Jina have beside OpenAI: rankings, labels, counts of tokens."""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

import msgspec

from ipfs_accelerate_py.simulator.text import count_tokens, unit
from ipfs_accelerate_py.simulator.wire import Answer, Request, Settings

from . import chat, responses
from .checks import Rules, a_boolean, a_string, an_array, an_integer, body_of, check, missing, model_of, refuse
from .common import FINGERPRINT, created, new_id

__all__ = ["chat_count", "classify", "moderate", "rerank", "response_count", "tokenize"]

_encode = msgspec.json.Encoder().encode


# --- moderations -------------------------------------------------------------------------------------------------

_CATEGORIES: Final = {
    "harassment": ("idiot", "stupid"),
    "harassment/threatening": ("i will hurt",),
    "hate": ("hate",),
    "hate/threatening": (),
    "illicit": ("steal",),
    "illicit/violent": ("bomb",),
    "self-harm": ("suicide",),
    "self-harm/instructions": (),
    "self-harm/intent": (),
    "sexual": ("porn",),
    "sexual/minors": (),
    "violence": ("kill", "murder"),
    "violence/graphic": ("gore",),
}
_SEES: Final = frozenset(("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence"))


def moderate(request: Request, settings: Settings) -> Answer:
    """A text is flagged for the words in it; a picture never is."""
    body = body_of(request)
    model = model_of({"model": "omni-moderation-latest", **body}, settings)
    given = body.get("input")
    if given is None:
        missing("input")
    if isinstance(given, str):
        given = [given]
    an_array("input", given)
    if not given:
        refuse("Invalid 'input': empty array.", "input", "empty_array")
    if all(isinstance(item, str) for item in given):
        texts, kinds = given, ["text"]
    else:
        texts, kinds = ["\n".join(_text(index, part) for index, part in enumerate(given))], ["text", "image"]
    made = {
        "id": new_id("modr-"),
        "model": model,
        "results": [_verdict(text, kinds, settings) for text in texts],
        "system_fingerprint": FINGERPRINT,
    }
    return Answer(body=_encode(made))


def _text(index: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        a_string(f"input[{index}].text", part.get("text"))
        return str(part["text"])
    if kind != "image_url" or not isinstance(part.get("image_url"), dict):
        refuse(f"Invalid value for 'input[{index}]': expected a text or an image_url.", f"input[{index}]")
    return ""


def _verdict(text: str, kinds: list[str], settings: Settings) -> dict[str, Any]:
    lowered = text.lower()
    scores = {}
    for category, words in _CATEGORIES.items():
        chance = unit(f"{category}:{text}".encode("utf-8", "replace"), settings.seed)
        scores[category] = 0.9 + chance / 10 if any(word in lowered for word in words) else chance / 100
    categories = {category: score > 0.5 for category, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {
            category: [kind for kind in kinds if kind == "text" or category in _SEES] for category in scores
        },
    }


# --- rankings and labels -----------------------------------------------------------------------------------------

_RERANK: Final[Rules] = {
    "query": a_string,
    "documents": an_array,
    "top_n": an_integer(0),
    "return_documents": a_boolean,
}
_LABELS: Final = ("negative", "neutral", "positive")


def _unprocessable(name: str) -> NoReturn:
    refuse(f"[{{'type': 'missing', 'loc': ('body', '{name}'), 'msg': 'Field required'}}]", name)


def rerank(request: Request, settings: Settings) -> Answer:
    """Words that query and document share count; a hash decides between equals."""
    body = body_of(request)
    model = model_of(body, settings)
    check(body, _RERANK)
    for name in ("query", "documents"):
        if body.get(name) is None:
            _unprocessable(name)
    documents = body["documents"]
    query = set(re.findall(r"\w+", body["query"].lower()))
    scored = []
    for index, document in enumerate(documents):
        text: Any = document.get("text") if isinstance(document, dict) else document
        a_string(f"documents[{index}]", text)
        words = set(re.findall(r"\w+", text.lower()))
        common = len(query & words) / max(1, len(query))
        chance = unit(f"{body['query']}\0{text}".encode("utf-8", "replace"), settings.seed)
        scored.append((0.9 * common + 0.1 * chance, index))
    scored.sort(reverse=True)
    most = body.get("top_n") or len(documents)
    results: list[dict[str, Any]] = []
    for score, index in scored[:most]:
        result: dict[str, Any] = {"index": index, "relevance_score": score}
        if body.get("return_documents", True):
            text = documents[index]
            result["document"] = text if isinstance(text, dict) else {"text": text}
        results.append(result)
    tokens = sum(count_tokens(body["query"] + str(document)) for document in documents)
    made = {"id": new_id("rerank-"), "model": model, "usage": {"total_tokens": tokens}, "results": results}
    return Answer(body=_encode({**made, "system_fingerprint": FINGERPRINT}))


def classify(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    model = model_of(body, settings)
    given = body.get("input")
    if given is None:
        _unprocessable("input")
    texts = [given] if isinstance(given, str) else given
    an_array("input", texts)
    data = []
    for index, text in enumerate(texts):
        a_string(f"input[{index}]", text)
        raw = [unit(f"{label}:{text}".encode("utf-8", "replace"), settings.seed) + 0.01 for label in _LABELS]
        probs = [value / sum(raw) for value in raw]
        label = _LABELS[probs.index(max(probs))]
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(_LABELS)})
    tokens = sum(map(count_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    made = {"id": new_id("classify-"), "object": "list", "created": created(), "model": model, "data": data}
    return Answer(body=_encode({**made, "usage": usage, "system_fingerprint": FINGERPRINT}))


# --- counts ------------------------------------------------------------------------------------------------------


def tokenize(request: Request, settings: Settings) -> Answer:
    """vLLM's, of a prompt or of a chat."""
    body = body_of(request)
    if body.get("model") is not None:
        model_of(body, settings)
    if body.get("messages") is not None:
        an_array("messages", body["messages"])
        tokens = chat.prompt_tokens(body)
    elif body.get("prompt") is not None:
        a_string("prompt", body["prompt"])
        tokens = count_tokens(body["prompt"])
    else:
        _unprocessable("prompt")
    made = {"count": tokens, "max_model_len": 131_072, "tokens": list(range(tokens)), "token_strs": None}
    return Answer(body=_encode({**made, "system_fingerprint": FINGERPRINT}))


def chat_count(request: Request, settings: Settings) -> Answer:
    """llama.cpp's, of a chat request."""
    body = body_of(request)
    if body.get("messages") is None:
        missing("messages")
    an_array("messages", body["messages"])
    return _counted(chat.prompt_tokens(body))


def response_count(request: Request, settings: Settings) -> Answer:
    """OpenAI's, of a request of the Responses API."""
    body = body_of(request)
    if body.get("model") is not None:
        model_of(body, settings)
    return _counted(responses.prompt_tokens(body))


def _counted(tokens: int) -> Answer:
    made = {"object": "response.input_tokens", "input_tokens": tokens, "system_fingerprint": FINGERPRINT}
    return Answer(body=_encode(made))
