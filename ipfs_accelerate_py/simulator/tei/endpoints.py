"""TEI's endpoints: vectors, rankings, classes and tokens, all made from the inputs by hashing."""

from __future__ import annotations

import base64
import hashlib
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import pieces
from ipfs_accelerate_py.simulator.text import unit, vector
from ipfs_accelerate_py.simulator.wire import Answer, Request, Settings

from .checks import MOST_INPUT, Text, body_of, check, check_batch, invalid, sized, texts_of, unreadable

__all__ = [
    "LABELS",
    "Vocabulary",
    "classify",
    "embed",
    "embed_all",
    "embed_sparse",
    "model_id",
    "openai",
    "predict",
    "rerank",
    "similarity",
]

_encode = msgspec.json.Encoder().encode
#: The classes of ``/predict``.
LABELS: Final = ("joy", "neutral", "anger")


def model_id(settings: Settings) -> str:
    return settings.models[0] if settings.models else "simulator/tei"


def _answer(made: Any, texts: Sequence[Text], tokens: int) -> Answer:
    headers = [
        ("x-compute-characters", str(sum(len(each) for each in texts if isinstance(each, str)))),
        ("x-compute-tokens", str(tokens)),
        ("x-total-time", "1"),
        ("x-tokenization-time", "0"),
        ("x-queue-time", "0"),
        ("x-inference-time", "1"),
    ]
    return Answer(headers=headers, body=_encode(made))


def _source(text: Text) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else _encode(text)


def _vector(text: Text, dimensions: int | None, settings: Settings) -> array[float]:
    return vector(_source(text), dimensions or settings.dimensions, settings.seed)


# --- vectors -----------------------------------------------------------------------------------------------------


def embed(request: Request, settings: Settings) -> Answer:
    body = body_of(request, "inputs")
    check(body)
    texts = texts_of(body["inputs"], "inputs")
    tokens = sum(sized(body, each) for each in texts)
    # Raw vectors are longer than 1, so that one can tell them from normalised ones.
    length = 1.0 if body.get("normalize", True) is not False else 2.0
    vectors = [[number * length for number in _vector(each, body.get("dimensions"), settings)] for each in texts]
    return _answer(vectors, texts, tokens)


def embed_all(request: Request, settings: Settings) -> Answer:
    """A vector for each token, special ones included."""
    body = body_of(request, "inputs")
    check(body)
    texts = texts_of(body["inputs"], "inputs")
    counts = [sized(body, each) for each in texts]
    vectors = [
        [_vector([number, *_source(each)], None, settings).tolist() for number in range(count)]
        for each, count in zip(texts, counts, strict=True)
    ]
    return _answer(vectors, texts, sum(counts))


def embed_sparse(request: Request, settings: Settings) -> Answer:
    body = body_of(request, "inputs")
    check(body)
    texts = texts_of(body["inputs"], "inputs")
    tokens = sum(sized(body, each) for each in texts)
    values = []
    for each in texts:
        words = set(each.split() if isinstance(each, str) else map(str, each))
        found = {_word_id(word): 0.5 + unit(word.encode()) for word in words}
        values.append([{"index": index, "value": found[index]} for index in sorted(found)])
    return _answer(values, texts, tokens)


def similarity(request: Request, settings: Settings) -> Answer:
    body = body_of(request, "inputs")
    inputs = body["inputs"]
    parameters = body.get("parameters") or {}
    if not isinstance(inputs, dict) or not isinstance(inputs.get("source_sentence"), str):
        unreadable("inputs: missing field `source_sentence` at line 1 column 2")
    sentences = inputs.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(each, str) for each in sentences):
        unreadable("inputs: missing field `sentences` at line 1 column 2")
    check(parameters)
    check_batch(sentences, "inputs.sentences")
    texts = [inputs["source_sentence"], *sentences]
    tokens = sum(sized(parameters, each) for each in texts)
    source, *others = (_vector(each, None, settings) for each in texts)
    return _answer([math.fsum(a * b for a, b in zip(source, each, strict=True)) for each in others], texts, tokens)


def openai(request: Request, settings: Settings) -> Answer:
    """``/v1/embeddings``."""
    body = body_of(request, "input")
    check(body)
    texts = texts_of(body["input"], "input")
    kind = body.get("encoding_format") or "float"
    if kind not in ("float", "base64"):
        unreadable(f"encoding_format: unknown variant `{kind}`, expected `float` or `base64` at line 1 column 2")
    tokens = sum(sized({"truncate": True}, each) for each in texts)  # it always truncates
    data = []
    for index, each in enumerate(texts):
        numbers = _vector(each, body.get("dimensions"), settings)
        if sys.byteorder == "big":
            numbers = numbers[:]
            numbers.byteswap()
        vector = base64.b64encode(numbers).decode() if kind == "base64" else numbers.tolist()
        data.append({"object": "embedding", "embedding": vector, "index": index})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _answer({"object": "list", "data": data, "model": model_id(settings), "usage": usage}, texts, tokens)


# --- scores ------------------------------------------------------------------------------------------------------


def rerank(request: Request, settings: Settings) -> Answer:
    """The more words of the query a text has, the higher; a little of chance tells equals apart."""
    body = body_of(request, "query", "texts")
    check(body)
    query, texts = body["query"], body["texts"]
    if not isinstance(query, str) or not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        unreadable("texts: invalid type, expected a sequence of strings at line 1 column 2")
    check_batch(texts, "texts")
    tokens = sum(sized(body, query, each) for each in texts)
    words = set(query.lower().split())
    ranks: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        shared = len(words & set(text.lower().split())) / max(1, len(words))
        logit = 8 * shared - 4 + unit(text.encode("utf-8", "surrogatepass"), settings.seed)
        score = logit if body.get("raw_scores") else 1 / (1 + math.exp(-logit))
        ranks.append({"index": index, "score": score, **({"text": text} if body.get("return_text") else {})})
    return _answer(sorted(ranks, key=lambda rank: -rank["score"]), [query, *texts], tokens)


def predict(request: Request, settings: Settings) -> Answer:
    body = body_of(request, "inputs")
    check(body)
    given = body["inputs"]
    if isinstance(given, str):
        batch, lone = [[given]], True
    elif isinstance(given, list) and given and isinstance(given[0], str):
        batch, lone = [given], True  # a pair
    else:
        batch, lone = given, False
    if not isinstance(batch, list) or not all(
        isinstance(each, list) and len(each) in (1, 2) and all(isinstance(text, str) for text in each) for each in batch
    ):
        unreadable(
            "inputs: invalid type, expected a string, a pair of strings [string, string] or a batch of mixed strings "
            "and pairs [[string], [string, string], ...] at line 1 column 2"
        )
    check_batch(batch, "inputs")
    tokens = sum(sized(body, *each) for each in batch)
    raw = bool(body.get("raw_scores"))
    made = [_labels("\0".join(each), settings, raw) for each in batch]
    return _answer(made[0] if lone else made, [text for each in batch for text in each], tokens)


def classify(request: Request, settings: Settings) -> Answer:
    """The router's text classification: a list of labels for each text."""
    body = body_of(request, "inputs")
    given = body["inputs"]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) for each in texts):
        invalid("inputs must be a text or a list of texts", "Validation", 400)
    parameters = body.get("parameters") or {}
    most = parameters.get("top_k") or len(LABELS)
    return Answer(body=_encode([_labels(each, settings, raw=False)[:most] for each in texts]))


def _labels(text: str, settings: Settings, raw: bool) -> list[dict[str, Any]]:
    source = text.encode("utf-8", "surrogatepass")
    logits = [4 * unit(label.encode() + source, settings.seed) for label in LABELS]
    total = sum(map(math.exp, logits))
    scores = logits if raw else [math.exp(logit) / total for logit in logits]
    found = [{"score": score, "label": label} for score, label in zip(scores, LABELS, strict=True)]
    return sorted(found, key=lambda prediction: -float(str(prediction["score"])))


# --- tokens ------------------------------------------------------------------------------------------------------


def _word_id(text: str) -> int:
    return 1000 + int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=3).digest(), "big")


class Vocabulary:
    """Tokens of four characters by their ids, which are hashes: what was tokenized here can be decoded here."""

    _SPECIAL: Final = {101: "[CLS]", 102: "[SEP]"}

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def tokenize(self, request: Request, settings: Settings) -> Answer:
        body = body_of(request, "inputs")
        check(body)
        given = body["inputs"]
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            unreadable("inputs: data did not match any variant of untagged enum TokenizeInput at line 1 column 2")
        check_batch(texts, "inputs")
        special = body.get("add_special_tokens", True) is not False
        return Answer(body=_encode([self._tokens(each, special) for each in texts]))

    def _tokens(self, text: str, special: bool) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for index, each in enumerate(pieces(text, 4)):
            if len(self._texts) > 100_000:
                self._texts.clear()
            number = _word_id(each)
            self._texts[number] = each
            made.append(
                {"id": number, "text": each, "special": False, "start": 4 * index, "stop": 4 * index + len(each)}
            )
        if not special:
            return made
        first, last = (
            {"id": number, "text": each, "special": True, "start": None, "stop": None}
            for number, each in self._SPECIAL.items()
        )
        return [first, *made, last]

    def decode(self, request: Request, settings: Settings) -> Answer:
        body = body_of(request, "ids")
        check(body)
        given = body["ids"]
        batch = [given] if isinstance(given, list) and given and not isinstance(given[0], list) else given
        if not isinstance(batch, list) or not all(isinstance(ids, list) for ids in batch):
            unreadable("ids: data did not match any variant of untagged enum InputIds at line 1 column 2")
        check_batch(batch, "ids")
        skip = body.get("skip_special_tokens", True) is not False
        return Answer(body=_encode([self._text(ids, skip) for ids in batch]))

    def _text(self, ids: list[Any], skip: bool) -> str:
        known = {**self._texts, **({} if skip else self._SPECIAL)}
        return "".join(known.get(number, "" if number in self._SPECIAL else "[UNK]") for number in ids)


def info(settings: Settings) -> dict[str, Any]:
    return {
        "model_id": model_id(settings),
        "model_sha": None,
        "model_dtype": "float32",
        "served_model_name": model_id(settings),
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": 512,
        "max_input_length": MOST_INPUT,
        "max_batch_tokens": 16384,
        "max_batch_requests": None,
        "max_client_batch_size": 32,
        "auto_truncate": False,
        "tokenization_workers": 2,
        "version": "1.8.0",
        "sha": None,
        "docker_label": None,
    }
