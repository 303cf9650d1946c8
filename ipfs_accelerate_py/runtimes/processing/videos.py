"""Videos as callers give them: lists of images, arrays of frames, animated files; to the frames that a model reads."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest, MissingExtra
from ipfs_accelerate_py.runtimes.extras import require

from .pictures import FORMATS, MAX_PIXELS, picture, raw_bytes, refuse

__all__ = ["frames"]

#: Most frames that one video may have.
MAX_FRAMES = 100_000


def frames(given: Any, count: int, step: int | None = None, param: str = "input") -> list[Any]:
    """``count`` frames of a video as upright RGB Pillow images, in order.

    They are spread evenly over the whole video, its first and last among them; with ``step``, every ``step``-th frame
    from the first on. A video that has too few repeats frames.

    Args:
        given: a list of images (each as `picture` takes it); an array of frames x height x width x 3; the bytes (or
            base64, or data URL) of an animated GIF, WebP or PNG, or where the ``av`` package is installed of an MP4 or
            any other file that it reads; or a mapping that has one of these as ``video`` or ``frames``.
        count: how many.
        step: distance between two.
        param: what the request calls it, for the error.

    Raises:
        InvalidRequest: it is none of these, or is damaged or too large.
        MissingExtra: it is a file that only ``av`` reads.
    """
    if isinstance(given, Mapping):
        for key in ("video", "frames", "data", "url", "video_url"):
            if given.get(key) is not None:
                return frames(given[key], count, step, param)
        raise refuse(f"{param} has no video: give a list of images or an animated file, as its 'video'", param)
    if isinstance(given, str | bytes | bytearray | memoryview | Path):
        return _of_file(raw_bytes(given, param), count, step, param)
    if isinstance(given, list | tuple) or getattr(given, "ndim", 0) == 4:
        if not len(given) or len(given) > MAX_FRAMES:
            raise refuse(f"{param} has {len(given)} frames; a video has 1 to {MAX_FRAMES}", param)
        chosen = _places(len(given), count, step)
        read = {at: picture(given[at], param) for at in dict.fromkeys(chosen)}
        return _alike([read[at] for at in chosen], param)
    raise refuse(f"{param} is no video but {type(given).__name__}: give a list of images or an animated file", param)


def _places(there: int, count: int, step: int | None) -> list[int]:
    if step is not None:
        return [min(at * step, there - 1) for at in range(count)]
    np = require("numpy")
    return [int(at) for at in np.linspace(0, there - 1, num=count)]


def _alike(read: list[Any], param: str) -> list[Any]:
    sizes = {each.size for each in read}
    if len(sizes) > 1:
        raise refuse(
            f"{param} has frames of different sizes: {', '.join(f'{w} x {h}' for w, h in sorted(sizes))}", param
        )
    return read


def _of_file(data: bytes, count: int, step: int | None, param: str) -> list[Any]:
    image = require("PIL.Image")
    try:
        opened = image.open(io.BytesIO(data), formats=FORMATS)
    except image.UnidentifiedImageError:
        return _of_container(data, count, step, param)
    except Exception as exc:
        raise refuse(f"{param} is a damaged or too large animation: {exc}", param) from exc
    there = getattr(opened, "n_frames", 1)
    if there > MAX_FRAMES or opened.width * opened.height > MAX_PIXELS:
        raise refuse(f"{param} is too large: {there} frames of {opened.width} x {opened.height}", param)
    read: dict[int, Any] = {}
    chosen = _places(there, count, step)
    try:
        for at in sorted(set(chosen)):
            opened.seek(at)
            read[at] = opened.convert("RGB")
    except Exception as exc:
        raise refuse(f"{param} is a damaged animation: {exc}", param) from exc
    return [read[at] for at in chosen]


def _of_container(data: bytes, count: int, step: int | None, param: str) -> list[Any]:
    try:
        av = require("av")
    except MissingExtra as exc:
        raise MissingExtra(
            f"{param} is no animated GIF, WebP or PNG; to read MP4 and the like, 'av' is needed, which is not "
            'installed: pip install "ipfs-accelerate-py[video]" (or send the frames as images)'
        ) from exc
    try:
        with av.open(io.BytesIO(data)) as container:
            there = sum(1 for _ in container.decode(video=0))
        if not there or there > MAX_FRAMES:
            raise refuse(f"{param} has {there} frames; a video has 1 to {MAX_FRAMES}", param)
        chosen = _places(there, count, step)
        with av.open(io.BytesIO(data)) as container:
            read = {at: frame.to_image() for at, frame in enumerate(container.decode(video=0)) if at in set(chosen)}
    except InvalidRequest:
        raise
    except Exception as exc:  # av's errors are many
        raise refuse(f"{param} is no video that can be read: {exc}", param) from exc
    return [read[at].convert("RGB") for at in chosen]
