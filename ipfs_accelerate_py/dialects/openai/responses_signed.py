"""What the next turn needs and OpenAI's items have no place for: reasoning that is signed for its author. Pure.

It travels in ``encrypted_content`` of reasoning items, which clients send back as they got it: base64 of JSON, whose
first field says that it is ours. It is neither secret nor trusted, for a client may send the same in a chat's messages.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

__all__ = ["Signed", "pack", "unpack"]

_VERSION: Final = "ipfs-accelerate/1"


class Signed(msgspec.Struct, omit_defaults=True):
    """Blocks of signed reasoning (see `Reply.thinking_blocks`), and signatures of tool calls by the call's id."""

    version: str
    thinking_blocks: list[dict[str, Any]] = []
    signatures: dict[str, str] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Signed).decode
#: What ours begins with, whatever its version; 27 bytes, so that it ends where a group of base64 does.
_MARK: Final = base64.b64encode(b'{"version":"ipfs-accelerate').decode("ascii")


def pack(thinking_blocks: list[dict[str, Any]], signatures: dict[str, str]) -> str:
    """As ``encrypted_content``."""
    return base64.b64encode(_encode(Signed(_VERSION, thinking_blocks, signatures))).decode("ascii")


def unpack(text: str) -> Signed | None:
    """What `pack` was given; None for what another service made. Raises `ValueError` for ours that is damaged."""
    if not text.startswith(_MARK):
        return None
    try:
        found = _decode(base64.b64decode(text, validate=True))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is damaged") from None
    if found.version != _VERSION:
        raise ValueError(f"it is of version {found.version!r}, and this is {_VERSION!r}")
    return found
