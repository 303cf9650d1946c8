"""Requests as TEI's clients write them, checked and turned into the vocabulary. Pure.

The model is not in TEI's bodies, for its servers have one. Here it is in the path (``/tei/<model>/embed``) or in a
field ``model``, and where neither names it the gateway takes the only one that there is for the purpose.
Source: TEI's API description (tei.openapi.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.checking import FORBIDDEN
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.types import (
    ClassifyRequest,
    EmbedRequest,
    Operation,
    Passthrough,
    Request,
    RerankRequest,
    TaskRequest,
)

__all__ = ["ROUTES", "TeiRequest", "decode_request"]

#: What each of TEI's paths asks for, and the task behind it where that has no operation of its own.
ROUTES: Mapping[str, tuple[Operation, str]] = {
    "embed": (Operation.EMBED, ""),
    "similarity": (Operation.EMBED, ""),
    "rerank": (Operation.RERANK, ""),
    "predict": (Operation.CLASSIFY, ""),
    "embed_all": (Operation.TASK, "feature-extraction"),
    "embed_sparse": (Operation.TASK, "sparse-embedding"),
    "tokenize": (Operation.TASK, "tokenize"),
    "decode": (Operation.TASK, "decode"),
}
_decode = msgspec.json.Decoder().decode


class TeiRequest:
    """A body that has passed the check (a `ServedRequest`).

    Attributes:
        verb: which of `ROUTES`.
        inputs: texts, lists of token ids or, of ``predict``, pairs.
        lone: whether one input was given by itself, and not a list.
        query: of ``rerank``.
        normalize: whether vectors are to be of unit length, which they are unless the client says otherwise.
        return_text: of ``rerank``.
    """

    stream = False

    def __init__(
        self, verb: str, model: str, inputs: list[Any], options: dict[str, Any], *, lone: bool = False
    ) -> None:
        self.verb = verb
        self.operation, self.task = ROUTES[verb]
        self.model = model
        self.inputs = inputs
        self.lone = lone
        self.query = ""
        self.normalize = options.get("normalize") is not False
        self.return_text = bool(options.pop("return_text", False))
        if self.normalize:
            options.pop("normalize", None)
        self._options = options

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        """None: what stands for a batch and what for one input is told apart here, once for all targets."""
        return None

    def summary(self, model: str) -> Request:
        return self.request(model)

    def request(self, model: str) -> Request:
        options = dict(self._options)
        if self.operation is Operation.EMBED:
            return EmbedRequest(model, list(self.inputs), options)
        if self.operation is Operation.RERANK:
            return RerankRequest(model, self.query, list(self.inputs), options)
        if self.operation is Operation.CLASSIFY:
            return ClassifyRequest(model, list(self.inputs), options)
        return TaskRequest(model, list(self.inputs), self.task, options)


def decode_request(verb: str, body: bytes, model: str) -> TeiRequest:
    """Check a body. Raises `InvalidRequest` whose ``param`` names the field that is wrong."""
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise bad_request("The body must be a JSON object.", "invalid_type")
    if wrong := FORBIDDEN & fields.keys():
        raise bad_request(f"Unsupported parameter: '{min(wrong)}'.", "unsupported_parameter", min(wrong))
    named = fields.pop("model", None)
    if named is not None and not isinstance(named, str):
        raise _wrong("model", "a string")
    model = model or named or ""
    given = fields.pop("ids" if verb == "decode" else "texts" if verb == "rerank" else "inputs", None)
    if verb == "similarity":
        return _similarity(given, fields, model)
    query = fields.pop("query", None)
    options = _options(fields)
    if verb == "rerank":
        if not isinstance(query, str):
            raise _wrong("query", "a string")
        request = TeiRequest(verb, model, _texts(given, "texts"), options)
        request.query = query
        return request
    if query is not None:
        options["query"] = query
    if verb == "predict":
        return _predict(given, options, model)
    name = "ids" if verb == "decode" else "inputs"
    inputs, lone = _inputs(given, name, texts=verb != "decode", ids=verb != "tokenize")
    return TeiRequest(verb, model, inputs, options, lone=lone)


def _options(fields: dict[str, Any]) -> dict[str, Any]:
    """Options without those that say what is done anyway."""
    options = {name: value for name, value in fields.items() if value is not None}
    if str(options.get("truncation_direction", "")).lower() == "right":
        del options["truncation_direction"]
    return options


def _similarity(given: Any, fields: dict[str, Any], model: str) -> TeiRequest:
    if not isinstance(given, dict):
        raise _wrong("inputs", "an object")
    source, sentences = given.get("source_sentence"), given.get("sentences")
    if not isinstance(source, str):
        raise _wrong("inputs.source_sentence", "a string")
    parameters = fields.pop("parameters", None) or {}
    if not isinstance(parameters, dict):
        raise _wrong("parameters", "an object")
    texts = _texts(sentences, "inputs.sentences")
    return TeiRequest("similarity", model, [source, *texts], _options({**fields, **parameters}))


def _predict(given: Any, options: dict[str, Any], model: str) -> TeiRequest:
    """A text, a pair of texts, or a list of lists, each with one text or a pair."""
    if isinstance(given, str):
        return TeiRequest("predict", model, [given], options, lone=True)
    if isinstance(given, list) and len(given) == 2 and all(isinstance(each, str) for each in given):
        return TeiRequest("predict", model, [given], options, lone=True)
    if not isinstance(given, list) or not given:
        raise _wrong("inputs", "a string, a pair of strings, or a batch of lists of one or two strings")
    inputs: list[Any] = []
    for at, each in enumerate(given):
        if not isinstance(each, list) or len(each) not in (1, 2) or not all(isinstance(one, str) for one in each):
            raise _wrong(f"inputs[{at}]", "a list of one or two strings")
        inputs.append(each[0] if len(each) == 1 else each)
    return TeiRequest("predict", model, inputs, options)


def _inputs(given: Any, name: str, *, texts: bool, ids: bool) -> tuple[list[Any], bool]:
    """Inputs as a list, and whether it was one by itself. A list of numbers is one input."""
    if isinstance(given, str) and texts:
        return [given], True
    if isinstance(given, list) and given:
        if ids and all(type(each) is int for each in given):
            return [given], True
        for at, each in enumerate(given):
            good = (texts and isinstance(each, str)) or (
                ids and isinstance(each, list) and bool(each) and all(type(one) is int for one in each)
            )
            if not good:
                raise _wrong(f"{name}[{at}]", " or ".join(["a string"] * texts + ["a list of token ids"] * ids))
        return given, False
    raise _wrong(name, " or ".join(["a string"] * texts + ["a list of token ids"] * ids) + ", or a list of such")


def _texts(given: Any, name: str) -> list[Any]:
    if not isinstance(given, list) or not given:
        raise _wrong(name, "a list of strings")
    for at, each in enumerate(given):
        if not isinstance(each, str):
            raise _wrong(f"{name}[{at}]", "a string")
    return given


def _wrong(place: str, expected: str) -> Exception:
    return bad_request(f"Invalid type for '{place}': expected {expected}.", "invalid_type", place)
