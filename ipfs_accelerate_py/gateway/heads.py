"""A request's head, as far as the parser leaves it to us: what RFC 9112 forbids, and the parts of the target."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

import httptools

__all__ = ["NOTABLE", "Refusal", "Target", "check_head", "split_target", "too_large"]

#: Path (decoded), path (raw), query.
Target = tuple[str, bytes, bytes]

#: Headers that may come once only, and decide how a request is read.
NOTABLE = frozenset({b"host", b"transfer-encoding", b"expect"})

#: Targets seen, with their parts; a gateway has few. More than this many are parsed each time.
_MOST_TARGETS = 256
_targets: dict[bytes, Target] = {}


class Refusal(Exception):  # an answer on its way out of the parser, not an error of ours
    """Raised inside the parser's callbacks: answer so, and close."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


def check_head(version: str, notable: Mapping[bytes, bytes]) -> None:
    """Raise a `Refusal` for what the parser lets through and RFC 9112 does not."""
    if version not in ("1.1", "1.0"):
        raise Refusal(505, f"HTTP/{version} is not spoken here; use HTTP/1.1.", "http_version_not_supported")
    if version == "1.1" and b"host" not in notable:
        raise Refusal(400, "The request has no 'host' header.", "invalid_request")
    encoding = notable.get(b"transfer-encoding")
    if encoding is not None and (version == "1.0" or encoding.strip().lower() != b"chunked"):
        raise Refusal(
            400, "The request's transfer-encoding must be 'chunked' and its version HTTP/1.1.", "invalid_request"
        )
    expect = notable.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise Refusal(417, "The only expectation that can be met is '100-continue'.", "expectation_failed")


def split_target(url: bytes) -> Target:
    """The parts of a request's target. Raises a `Refusal` where it is none."""
    found = _targets.get(url)
    if found is not None:
        return found
    try:
        parts = httptools.parse_url(url)
        raw_path: bytes = parts.path or b"/"
        path = raw_path.decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        raise Refusal(400, "The request's target is not a valid URL path.", "invalid_request") from None
    target = (unquote(path) if "%" in path else path, raw_path, parts.query or b"")
    if len(_targets) < _MOST_TARGETS:
        _targets[url] = target
    return target


def too_large(most: int) -> Refusal:
    """The refusal of a head of more than so many bytes."""
    return Refusal(431, f"The request's line and headers are larger than {most} bytes.", "headers_too_large")
