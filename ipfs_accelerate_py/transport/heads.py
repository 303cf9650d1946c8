"""Heads: that of a request as bytes, and an answer's fields as a mapping."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Head", "Headers", "encode", "fields"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: Control characters (but for the tab), and what is not latin-1.
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
#: Methods that say how long their body is also where there is none.
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Headers(Mapping[str, str]):
    """An answer's header fields: names in lower case, and found in any."""

    __slots__ = ("_fields",)

    def __init__(self, found: dict[str, str]) -> None:
        self._fields = found

    def get(self, name: str, default: Any = None) -> Any:
        value = self._fields.get(name)
        if value is None:
            return self._fields.get(name.lower(), default)
        return value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Headers({list(self._fields)})"  # no values: a server may send back what it was sent


class _Names(dict[bytes, str]):
    """Names as they come, and how we know them: services send the same few for ever."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(self) < 1024 and len(raw) < 64:
            self[raw] = name
        return name


_names = _Names()


def fields(raw: dict[bytes, bytes]) -> Headers:
    """What the parser found; of a name that is there twice, it noted the first value.

    (Written twice in different cases, the last one counts: no server does that.)
    """
    names = _names
    return Headers({names[name]: value.decode("utf-8", "surrogateescape") for name, value in raw.items()})


class Head:
    """A request's head up to ``Content-Length``, and what it says of the connection."""

    __slots__ = ("bodiless", "closes", "headers", "names", "prefix", "sized")

    def __init__(self, headers: Any, prefix: bytes, method: str, closes: bool, names: Collection[str] = ()) -> None:
        #: The mapping it was made of, held so that no other one can come to have its id.
        self.headers = headers
        self.prefix = prefix
        #: Whether the answer has no body, whatever its head says.
        self.bodiless = method == "HEAD"
        self.sized = method in _WITH_BODY
        #: Whether the connection ends with this exchange.
        self.closes = closes
        #: Names of the fields, in lower case.
        self.names = names

    def with_extra(self, extra: Mapping[str, str]) -> Head:
        """This head and some more fields, but for those that it has. Raises as `encode` does."""
        lines = []
        for name, value in extra.items():
            if not _TOKEN.fullmatch(name) or _UNSENDABLE.search(value):
                raise ConfigurationError(
                    f"the request cannot be sent: the header {name[:80]} is not plain text in one line"
                )
            if name.lower() not in self.names:
                lines.append(f"{name}: {value}\r\n")
        made = Head(self.headers, self.prefix + "".join(lines).encode("latin-1"), "", self.closes, self.names)
        made.bodiless, made.sized = self.bodiless, self.sized
        return made


def encode(method: str, target: str, host: str, extra: str, headers: Any) -> Head:
    """The head of a request: ``target`` and ``host`` are plain ASCII, ``extra`` whole lines of our own.

    Raises `ConfigurationError` for headers that could not be sent as they are, without quoting their values.
    """
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise ConfigurationError("the request cannot be sent: its method is not a word of HTTP")
    lines: dict[str, str] = {"host": f"Host: {host}\r\n"}
    closes = False
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError("the request cannot be sent: the name of a header is not a word of HTTP")
        if not isinstance(value, str) or _UNSENDABLE.search(value):
            raise ConfigurationError(
                f"the request cannot be sent: the header {name[:80]} is not plain text in one line"
            )
        known = name.lower()
        if known == "transfer-encoding":
            raise ConfigurationError(
                "the request cannot be sent: how a body is framed (Transfer-Encoding) is not yours"
            )
        if known == "connection":
            closes = "close" in value.lower()
        if known != "content-length":  # we know it better
            lines[known] = f"{name}: {value.strip()}\r\n"
    if "accept-encoding" not in lines:
        lines["accept-encoding"] = "Accept-Encoding: identity\r\n"
    text = f"{method} {target} HTTP/1.1\r\n{''.join(lines.values())}{extra}"
    return Head(headers, text.encode("latin-1"), method, closes, frozenset(lines))
