"""Images as callers give them: bytes, base64, data URLs, arrays, Pillow's own; to upright RGB pictures.

Nothing is fetched and no file is opened by a text: an address or a path in a request would let whoever sends it read
what this machine can reach. A `pathlib.Path` is read, because only a program in this process can give one.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, InvalidRequest
from ipfs_accelerate_py.runtimes.extras import lacks, require

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "picture", "raw_bytes", "refuse", "refused"]

#: File formats that are read. Others are refused before their decoder sees a byte.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
#: Most pixels of one image: a few bytes of PNG can claim to be gigabytes.
MAX_PIXELS = 64_000_000
#: Most bytes of one image or video file.
MAX_BYTES = 256 * 1024 * 1024

_HOW = "give the file's bytes, base64 or a data: URL, an array, or a Pillow image"


def refuse(message: str, param: str) -> InvalidRequest:
    """The error for an input that cannot be used."""
    return InvalidRequest(message, status=400, param=param)


def refused(who: str, what: str, exc: Exception) -> AccelerateError:
    """The error for an input that something of the model's (``who``) does not make arrays of. What it finds wrong with
    a picture (too narrow to resize, ...) is the picture's fault; that it lacks a package is not."""
    if isinstance(exc, ImportError):
        return lacks(f"the model's {who}", exc)
    return refuse(f"input: the model's {who} refuses {what}: {exc}", "input")


def picture(given: Any, param: str = "input") -> Any:
    """``given`` as a Pillow image: RGB, upright as its EXIF data says, the first frame of an animation.

    Args:
        given: bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF file; the same as base64 or data URL; a `pathlib.Path`; an
            array of height x width (x 1, 3 or 4; channels may be first), of 0 to 255 or, if of floats, 0 to 1; a
            Pillow image; or a mapping that has one of these as ``image``, ``data``, ``url`` or ``image_url``.
        param: what the request calls it, for the error.

    Raises:
        InvalidRequest: it is none of these, is damaged, or is larger than `MAX_PIXELS` or `MAX_BYTES`.
    """
    image = require("PIL.Image")
    if isinstance(given, Mapping):
        for key in ("image", "data", "url", "image_url", "b64_json"):
            if given.get(key) is not None:
                return picture(given[key], param)
        raise refuse(f"{param} has no image: {_HOW}, as its 'image'", param)
    if isinstance(given, image.Image):
        return _upright(given, param)
    if isinstance(given, str | bytes | bytearray | memoryview | Path):
        return _upright(_opened(raw_bytes(given, param), param), param)
    if isinstance(given, list | tuple) or hasattr(given, "__array__"):
        return image.fromarray(_pixels(given, param))
    raise refuse(f"{param} is no image but {type(given).__name__}: {_HOW}", param)


def raw_bytes(given: Any, param: str) -> bytes:
    """The bytes of a file that came as such, as base64, as data URL, or as a path of this program's own."""
    if isinstance(given, Path):
        try:
            if given.stat().st_size > MAX_BYTES:
                raise refuse(f"{param}: the file is larger than {MAX_BYTES} bytes", param)
            return given.read_bytes()
        except OSError as exc:
            raise refuse(f"{param}: the file cannot be read: {exc}", param) from exc
    if isinstance(given, str):
        given = _decoded(given, param)
    data = bytes(given)
    if len(data) > MAX_BYTES:
        raise refuse(f"{param} has {len(data)} bytes; at most {MAX_BYTES} are read", param)
    return data


def _decoded(text: str, param: str) -> bytes:
    text = text.strip()
    start = text[:8].lower()
    if start.startswith(("http://", "https:/", "file:", "ftp:")):
        raise refuse(f"{param} is an address, and nothing is fetched from addresses here: {_HOW}", param)
    if start.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise refuse(f"{param} is a data URL without base64: write data:image/png;base64,...", param)
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise refuse(f"{param} is longer than {MAX_BYTES} bytes are in base64", param)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise refuse(f"{param} is a text but no base64 ({exc}): {_HOW}", param) from exc


def _opened(data: bytes, param: str) -> Any:
    image = require("PIL.Image")
    try:
        return image.open(io.BytesIO(data), formats=FORMATS)
    except (image.DecompressionBombError, image.DecompressionBombWarning) as exc:
        raise refuse(f"{param} is an image of more than {MAX_PIXELS} pixels", param) from exc
    except Exception as exc:  # Pillow's decoders raise many kinds for a damaged file
        raise refuse(f"{param} is no image of a known format ({', '.join(FORMATS)}): {exc}", param) from exc


def _upright(opened: Any, param: str) -> Any:
    if opened.width * opened.height > MAX_PIXELS:
        raise refuse(f"{param} is {opened.width} x {opened.height} pixels; at most {MAX_PIXELS} are read", param)
    try:
        turned = require("PIL.ImageOps").exif_transpose(opened)
        if turned.mode.startswith(("I", "F")):
            return _from_deep(turned, param)
        return turned.convert("RGB")
    except InvalidRequest:
        raise
    except Exception as exc:
        raise refuse(f"{param} is a damaged image: {exc}", param) from exc


def _from_deep(opened: Any, param: str) -> Any:
    # Pillow clips 16-bit grey to 255 where it converts; its scale is 0 to 65535.
    np = require("numpy")
    values = np.asarray(opened)
    if opened.mode == "F":
        return require("PIL.Image").fromarray(_pixels(values, param))
    grey = (values.clip(0, 65535) // 257).astype("uint8") if values.max(initial=0) > 255 else values.astype("uint8")
    return require("PIL.Image").fromarray(grey).convert("RGB")


def _pixels(given: Any, param: str) -> Any:
    """An array as height x width x 3 of uint8."""
    np = require("numpy")
    try:
        array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"elements of type {array.dtype}")
    except (ValueError, TypeError) as exc:
        raise refuse(f"{param} is no array of numbers: {exc}", param) from exc
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise refuse(f"{param} has the shape {tuple(array.shape)}; an image's is height x width x 3", param)
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise refuse(f"{param} has more than {MAX_PIXELS} pixels", param)
    top = 1 if array.dtype.kind == "f" else 255
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > top:
        raise refuse(f"{param} has values outside 0 to {top}, which {array.dtype} pixels have", param)
    if array.dtype.kind == "f":
        array = np.round(array * 255)
    elif array.dtype.kind == "b":
        array = array * 255
    array = array.astype("uint8")
    return np.ascontiguousarray(np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3])
