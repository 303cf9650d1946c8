"""``/images/generations``, ``/images/edits``, and the pictures that their URLs lead to."""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.media import png
from ipfs_accelerate_py.simulator.multipart import form_of
from ipfs_accelerate_py.simulator.text import count_tokens
from ipfs_accelerate_py.simulator.wire import Answer, Request, Settings

from .checks import Rules, a_string, an_integer, body_of, check, missing, model_of, one_of, refuse
from .common import FINGERPRINT, created

__all__ = ["PICTURES", "answer", "edit", "picture"]

_encode = msgspec.json.Encoder().encode
#: Where pictures lie that an answer gives the URL of.
PICTURES: Final = "/simulated/pictures/"
_PICTURE: Final = re.compile(r"(\d{1,4})x(\d{1,4})-(\w+)\.png")
_RULES: Final[Rules] = {
    "prompt": a_string,
    "n": an_integer(1, 10),
    "size": a_string,
    "quality": one_of("standard", "hd", "low", "medium", "high", "auto"),
    "response_format": one_of("url", "b64_json"),
    "style": one_of("vivid", "natural"),
    "output_format": one_of("png", "jpeg", "webp"),
    "background": one_of("transparent", "opaque", "auto"),
    "user": a_string,
}


def answer(request: Request, settings: Settings) -> Answer:
    return _made(request, settings, body_of(request), 0)


def edit(request: Request, settings: Settings) -> Answer:
    """The same for a picture that is there already."""
    form = form_of(request)
    image = form.files.get("image")
    if image is None:
        missing("image")
    body: dict[str, Any] = {name: values[-1] for name, values in form.fields.items()}
    if "n" in body:
        body["n"] = int(body["n"]) if body["n"].isdigit() else body["n"]
    return _made(request, settings, body, len(image.data))


def _made(request: Request, settings: Settings, body: dict[str, Any], given: int) -> Answer:
    model = model_of({"model": "dall-e-2", **body}, settings)
    check(body, _RULES)
    prompt = body.get("prompt")
    if prompt is None:
        missing("prompt")
    if not prompt:
        refuse("Invalid 'prompt': string too short. Expected a string with minimum length 1.", "prompt")
    newest = model.startswith("gpt-image")
    if newest and body.get("response_format") is not None:
        refuse("Unknown parameter: 'response_format'.", "response_format", "unknown_parameter")
    if model.startswith("dall-e-3") and (body.get("n") or 1) > 1:
        refuse("You must provide n=1 for this model.", "n", "invalid_value")
    size = body.get("size") or "auto"
    width, height = _size("1024x1024" if size == "auto" else size)
    packed = newest or body.get("response_format") == "b64_json"
    data = [_image(request, prompt, index, width, height, settings, packed) for index in range(body.get("n") or 1)]
    if model.startswith("dall-e-3"):
        data[0]["revised_prompt"] = f"{prompt}, simulated"
    made: dict[str, Any] = {"created": created(), "data": data, "system_fingerprint": FINGERPRINT}
    if newest:
        texts, images = count_tokens(prompt), given // 1000
        used = {"input_tokens": texts + images, "output_tokens": 272 * len(data)}
        made |= {"output_format": "png", "quality": "low", "size": f"{width}x{height}", "background": "opaque"}
        made["usage"] = {
            **used,
            "total_tokens": sum(used.values()),
            "input_tokens_details": {"text_tokens": texts, "image_tokens": images},
        }
    return Answer(body=_encode(made), model=model, usage=made.get("usage"))


def _size(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", size)
    if found is None or not all(16 <= int(side) <= 4096 for side in found.groups()):
        refuse(f"Invalid value: '{size}'. Supported values are: '256x256', '512x512', and '1024x1024'.", "size")
    return int(found[1]), int(found[2])


def _image(
    request: Request, prompt: str, index: int, width: int, height: int, settings: Settings, packed: bool
) -> dict[str, Any]:
    label = base64.b32encode(f"{settings.seed}:{index}:{prompt}".encode("utf-8", "replace")[:40]).decode().strip("=")
    if packed:
        return {"b64_json": base64.b64encode(png(width, height, label.encode())).decode("ascii")}
    host = request.headers.get("host", "127.0.0.1")
    return {"url": f"http://{host}{PICTURES}{width}x{height}-{label}.png"}


def picture(path: str) -> Answer | None:
    """The picture at a path that an answer gave; None where there is none."""
    found = _PICTURE.fullmatch(path)
    if found is None:
        return None
    return Answer(body=png(int(found[1]), int(found[2]), found[3].encode()), content_type="image/png")
