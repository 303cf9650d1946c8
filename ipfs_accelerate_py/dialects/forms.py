"""``multipart/form-data``: how recordings and images travel to services of OpenAI's kind. Pure.

Source: RFC 7578 (and RFC 2046 for what separates the parts); names are escaped as browsers do it (WHATWG, HTML).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

import msgspec

from ipfs_accelerate_py.dialects.serving import bad_request

__all__ = ["Part", "boundary_of", "decode_form", "encode_form"]

#: More parts, or a longer head of one, are refused: nobody who means well sends them.
MOST_PARTS = 256
MOST_HEAD_BYTES = 8192

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+\-.^`|~]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*')


class Part(msgspec.Struct):
    """A field, or a file where it has a ``filename``."""

    name: str
    data: bytes
    filename: str | None = None
    content_type: str = ""

    @property
    def text(self) -> str:
        """A field's value. Raises `InvalidRequest` where it is no UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise bad_request(f"the field {self.name!r} is not UTF-8", "invalid_form", self.name) from None


def encode_form(parts: Iterable[Part]) -> tuple[bytes, str]:
    """Parts as a body and its content type."""
    parts = list(parts)
    boundary = f"form-{random.getrandbits(96):024x}"
    while any(boundary.encode() in part.data for part in parts):
        boundary = f"form-{random.getrandbits(96):024x}"
    pieces: list[bytes] = []
    for part in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(part.name)}"'
        if part.filename is not None:
            head += f'; filename="{_escaped(part.filename)}"\r\nContent-Type: '
            head += _plain(part.content_type) or "application/octet-stream"
        elif part.content_type:
            head += f"\r\nContent-Type: {_plain(part.content_type)}"
        pieces += [head.encode("utf-8", "replace"), b"\r\n\r\n", part.data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"


def _escaped(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _plain(value: str) -> str:
    return value if value.isprintable() and value.isascii() else ""


def boundary_of(content_type: str) -> str:
    """The boundary that a content type names. Raises `InvalidRequest` where it is no form's, or names none."""
    kind, semicolon, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise bad_request(
            f"the body must be multipart/form-data, not {kind.strip() or 'of no type'}", "invalid_form", "content-type"
        )
    boundary = _parameters(semicolon + rest).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise bad_request("the content type names no boundary of the form's parts", "invalid_form", "content-type")
    return boundary


def decode_form(body: bytes, content_type: str, *, most_parts: int = MOST_PARTS) -> list[Part]:
    """The parts of a form, in order. Raises `InvalidRequest` (400) for whatever is not exactly one, a cut one too."""
    delimiter = b"\r\n--" + boundary_of(content_type).encode()
    parts: list[Part] = []
    if body.startswith(delimiter[2:]):
        at = len(delimiter) - 2
    elif body.startswith(delimiter):
        at = len(delimiter)
    else:
        raise _wrong("does not begin with its boundary")
    while True:
        if body.startswith(b"--", at):
            if body[at + 2 :].strip():
                raise _wrong("goes on after its end")
            return parts
        line = body.find(b"\r\n", at, at + 128)
        if line < 0 or body[at:line].strip(b" \t"):
            raise _wrong("has something else after a boundary than the end of the line")
        end = body.find(delimiter, line)
        if end < 0:
            raise _wrong("breaks off before its end")
        if len(parts) >= most_parts:
            raise _wrong(f"has more than {most_parts} parts")
        parts.append(_part(body, line + 2, end))
        at = end + len(delimiter)


def _part(body: bytes, start: int, end: int) -> Part:
    # Looked for from the line end before the part on: without headers the empty line follows at once.
    blank = body.find(b"\r\n\r\n", start - 2, min(end, start + MOST_HEAD_BYTES) + 2)
    if blank < start:
        raise _wrong("has a part without headers, or with too many")
    named: dict[str, str] = {}
    kind = ""
    for line in body[start:blank].split(b"\r\n"):
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon:
            raise _wrong("has a part whose header is no header")
        name = name.strip().lower()
        if name == "content-disposition":
            disposition, semicolon, rest = value.partition(";")
            if disposition.strip().lower() != "form-data" or named:
                raise _wrong("has a part that is not form-data")
            named = _parameters(semicolon + rest)
        elif name == "content-type":
            kind = value.strip()
        elif name == "content-transfer-encoding" and value.strip().lower() not in ("binary", "8bit", "7bit"):
            raise _wrong(f"has a part in the encoding {value.strip()!r}, which forms do not have")
    if "name" not in named:
        raise _wrong("has a part without a name")
    return Part(_unescaped(named["name"]), body[blank + 4 : end], _filename(named), kind)


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while match := _PARAMETER.match(text, at):
        name, quoted, token = match.groups()
        found.setdefault(name.lower(), token if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted))
        at = match.end()
    return found


def _filename(named: dict[str, str]) -> str | None:
    encoded = named.get("filename*", "")  # RFC 7578 forbids it, and some libraries write nothing else
    charset, _, rest = encoded.partition("'")
    if charset.lower() == "utf-8" and "'" in rest:
        return unquote_to_bytes(rest.partition("'")[2]).decode("utf-8", "replace")
    return _unescaped(named["filename"]) if "filename" in named else None


def _unescaped(text: str) -> str:
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _wrong(what: str) -> Exception:
    return bad_request(f"the form {what}", "invalid_form")
