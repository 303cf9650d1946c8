"""``/embeddings``."""

from __future__ import annotations

import base64
import sys
from typing import Any, Final, NoReturn

import msgspec

from ipfs_accelerate_py.simulator.text import count_tokens, vector
from ipfs_accelerate_py.simulator.wire import Answer, Request, Settings

from .checks import Rules, a_string, an_integer, body_of, check, missing, model_of, one_of, refuse

__all__ = ["answer", "cost"]

_encode = msgspec.json.Encoder().encode
#: OpenAI's limit of inputs in one request.
_MOST: Final = 2048
_RULES: Final[Rules] = {
    "dimensions": an_integer(1, 65536),
    "encoding_format": one_of("float", "base64"),
    "user": a_string,
}


def _inputs(body: dict[str, Any]) -> list[str | list[int]]:
    given = body.get("input")
    if given is None:
        missing("input")
    if isinstance(given, str) or (isinstance(given, list) and given and all(_is_token(item) for item in given)):
        given = [given]
    elif not isinstance(given, list):
        _wrong()
    if not given:
        refuse(
            "Invalid 'input': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "input",
            "empty_array",
        )
    if len(given) > _MOST:
        refuse(
            f"Invalid 'input': array too long. Expected an array with maximum length {_MOST}, but got an array with "
            f"length {len(given)} instead.",
            "input",
            "array_above_max_length",
        )
    for item in given:
        if isinstance(item, str):
            if not item:
                refuse("Invalid 'input': input cannot be an empty string.", "input")
        elif not (isinstance(item, list) and item and all(_is_token(token) for token in item)):
            _wrong()
    return given


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong() -> NoReturn:
    refuse(
        "'$.input' is invalid. Expected a string, an array of strings, an array of tokens or an array of token arrays.",
        "input",
    )


def cost(body: dict[str, Any]) -> int:
    """Tokens of the inputs."""
    return sum(count_tokens(item) if isinstance(item, str) else len(item) for item in _inputs(body))


def answer(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    model = model_of(body, settings)
    check(body, _RULES)
    dimensions = body.get("dimensions") or settings.dimensions
    packed = body.get("encoding_format") == "base64"
    data = []
    for index, item in enumerate(_inputs(body)):
        source = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else _encode(item)
        numbers = vector(model.encode() + b"\0" + source, dimensions, settings.seed)
        embedding: str | list[float]
        if packed:
            if sys.byteorder == "big":
                numbers = numbers[:]
                numbers.byteswap()
            embedding = base64.b64encode(numbers).decode("ascii")
        else:
            embedding = numbers.tolist()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    tokens = cost(body)
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    made = {
        "object": "list",
        "data": data,
        "model": model,
        "usage": used,
        # No field of OpenAI's embeddings; unknown fields are allowed, and every answer here says who made it.
        "system_fingerprint": "fp_simulator",
    }
    encoded = _encode(made)
    return Answer(body=encoded, renew=lambda: encoded, model=model, usage=used)
