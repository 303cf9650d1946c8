"""Forms with files in them, read by the standard library's parser of MIME (RFC 7578 is a kind of it)."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import NamedTuple, TypeAlias

from ipfs_accelerate_py.simulator.wire import Request

__all__ = ["Form", "Part", "form_of"]


class Part(NamedTuple):
    """A field, or a file where it has a name."""

    name: str
    data: bytes
    filename: str | None

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


Form: TypeAlias = list[Part]


def form_of(request: Request) -> Form | None:
    """The parts of a request that is a form; None for any other."""
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        from urllib.parse import parse_qsl

        pairs = parse_qsl(request.raw.decode("utf-8", "replace"), keep_blank_values=True)
        return [Part(name, value.encode(), None) for name, value in pairs]
    if not kind.startswith("multipart/form-data"):
        return None
    head = f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode("latin-1")
    message = message_from_bytes(head + request.raw, policy=policy.HTTP)
    found = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        found.append(Part(str(name), data if isinstance(data, bytes) else b"", part.get_filename()))
    return found
