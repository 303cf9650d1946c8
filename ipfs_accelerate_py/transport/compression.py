"""Answers that come compressed although nobody asked for it."""

from __future__ import annotations

import re
import zlib
from typing import Any

from ipfs_accelerate_py.errors import ProtocolError

__all__ = ["Inflater", "inflater"]


class Inflater:
    """Takes compressed pieces apart as they come, and gives at most ``most`` bytes in all."""

    def __init__(self, packed: Any, most: int, status: int) -> None:
        self._packed = packed
        self._left = most
        self._status = status

    def __call__(self, data: bytes) -> bytes:
        """What ``data`` brings: maybe nothing yet. Raises `ProtocolError` for what is broken or too large."""
        try:
            out: bytes = self._packed.decompress(data, max(1, self._left))
        except zlib.error as error:
            raise ProtocolError(f"the answer is not the gzip it says it is: {error}", status=self._status) from None
        self._left -= len(out)
        # Bounded, so a small answer cannot swell without end.
        if self._left <= 0 or self._packed.unconsumed_tail:
            raise ProtocolError("the upstream's answer is larger than max_body_bytes allows", status=self._status)
        return out


def inflater(encoding: str | None, most: int, status: int) -> Inflater | None:
    """For the value of a ``Content-Encoding``; None where the body is plain. Raises `ProtocolError` for others."""
    if not encoding:
        return None
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return Inflater(zlib.decompressobj(16 + zlib.MAX_WBITS), most, status)
    if encoding == "deflate":
        return Inflater(zlib.decompressobj(), most, status)
    # Only what looks like the name of one is quoted: who knows what else a server writes there.
    shown = repr(encoding) if re.fullmatch(r"[a-z-]{1,12}", encoding) else "one without a name"
    raise ProtocolError(f"the upstream answered in a content encoding that was not asked for: {shown}", status=status)
