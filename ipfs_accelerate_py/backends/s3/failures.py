"""What obstore raises, as errors of the tree: in one place, with the keys taken out.

obstore keeps the status and S3's error document inside its message ("status code: 503 ...: <Error><Code>SlowDown...")
and the kind of a failed connection in its debugging text; both are read here and nowhere else. Source: S3's "Error
responses", and object_store's ``RetryError`` and ``HttpErrorKind``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from html import unescape

from ipfs_accelerate_py.backends.s3.access import Keys
from ipfs_accelerate_py.errors import (
    AccelerateError,
    AuthenticationError,
    BackendError,
    ConfigurationError,
    ConnectFailed,
    InvalidRequest,
    NotFound,
    ProtocolError,
    RateLimited,
    ReadTimeout,
    ServerError,
    StreamCut,
    TransportError,
)

__all__ = ["Changed", "Exists", "translated"]

_STATUS = re.compile(r"status code: (\d{3})")
_KIND = re.compile(r"\bkind: (Connect|Timeout|Interrupted|Request|Decode|Unknown)\b")
_FIELD = re.compile(r"<(Code|Message|RequestId)>([^<]{0,500})</\1>")
#: S3 asks for fewer requests with 503, and is not down.
_SLOWER = frozenset(("SlowDown", "RequestLimitExceeded", "TooManyRequests", "Throttling", "ThrottlingException"))


class Exists(Exception):
    """An object was to be created and is there already."""


class Changed(Exception):
    """An object is not the one that it was, or the range asked of it is not there."""


@contextlib.contextmanager
def translated(what: str, keys: Keys | None) -> Iterator[None]:
    """Around calls of obstore's and nothing else. ``what`` is the object they are about."""
    try:
        yield
    except (AccelerateError, Exists, Changed):
        raise
    except Exception as problem:
        error = _translate(problem, what, keys)
    else:
        return
    try:
        raise error
    finally:
        del error  # its traceback holds this frame: do not keep each other alive


def _translate(problem: Exception, what: str, keys: Keys | None) -> Exception:
    words = str(problem)
    kind = type(problem).__name__
    found = _STATUS.search(words)
    if found is None:
        return _no_answer(kind, words, what, keys)
    status = int(found[1])
    fields = {name: unescape(value) for name, value in _FIELD.findall(words.partition("\nDebug source:")[0])}
    code = fields.get("Code")
    said = fields.get("Message") or code or f"HTTP {status}"
    if keys is not None:
        said = keys.hide(said)
    if kind == "AlreadyExistsError":
        return Exists()
    if status in (304, 412, 416):
        return Changed()
    error = _answered(status, code, f"{what}: {said}")
    if isinstance(error, BackendError):
        error.status = status
        error.request_id = fields.get("RequestId")
    if code is not None:
        error.code = code
    return error


def _answered(status: int, code: str | None, said: str) -> AccelerateError:
    if code in _SLOWER or status == 429:
        return RateLimited(f"Rate limit: {said}")
    if code == "NoSuchBucket":
        return NotFound(f"there is no such bucket; nothing here makes one ({said})")
    if status == 404:
        return NotFound(f"there is no {said}")
    if status in (401, 403):
        return AuthenticationError(f"Authentication error: {said}")
    if status in (408, 409) or code == "RequestTimeout":  # it asks for a repeat, and is not down
        error = ServerError(said)
        error.outage = False
        return error
    if 400 <= status < 500:
        return InvalidRequest(said)
    if status == 501:
        return InvalidRequest(f"the store has no such operation: {said}")
    if status >= 500:
        return ServerError(f"the store failed with HTTP {status}: {said}")
    return ProtocolError(f"the store answered with HTTP {status}: {said}")


def _no_answer(kind: str, words: str, what: str, keys: Keys | None) -> AccelerateError:
    if kind == "ValueError":  # a path or an option that obstore refuses before anything is sent
        return ConfigurationError(f"{what}: {_short(words, keys)}")
    if kind == "FileNotFoundError":
        return NotFound(f"there is no {what}")
    found = _KIND.search(words)
    reason = found[1] if found is not None else ""
    if reason == "Connect":
        return ConnectFailed(f"{what}: no connection to the store")
    if reason == "Timeout":
        return ReadTimeout(f"{what}: the store was silent for longer than idle_timeout allows")
    if reason in ("Interrupted", "Decode"):
        return StreamCut(f"{what}: the store's answer broke off")
    if reason:
        return TransportError(f"{what}: the exchange with the store failed")
    return ProtocolError(f"{what}: {_short(words, keys)}")


def _short(words: str, keys: Keys | None) -> str:
    text = words.partition("\n")[0][:300]
    return text if keys is None else keys.hide(text)
