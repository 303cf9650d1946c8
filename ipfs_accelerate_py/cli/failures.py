"""Exit codes, and what is said of a failure. The codes are a promise to scripts: they do not change."""

from __future__ import annotations

import enum
from typing import Any

from ipfs_accelerate_py import errors as e

__all__ = ["EXIT_CODES", "ExitCode", "describe", "exit_code", "hint", "summary"]


class ExitCode(enum.IntEnum):
    """How a command ended."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    AUTHENTICATION = 3
    BUSY = 4
    UPSTREAM = 5
    INVALID_REQUEST = 6
    UNAVAILABLE = 7
    INTERRUPTED = 130
    CLOSED_PIPE = 141


#: For the help and the documentation.
EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.OK: "success",
    ExitCode.UNEXPECTED: "unexpected error (a full disk, a bug)",
    ExitCode.USAGE: "wrong usage, input or configuration",
    ExitCode.AUTHENTICATION: "key missing, refused or without quota",
    ExitCode.BUSY: "rate limit, full queue or open circuit: try again later",
    ExitCode.UPSTREAM: "the service failed, broke off or could not be reached",
    ExitCode.INVALID_REQUEST: "the service refused the request (its content, model or size)",
    ExitCode.UNAVAILABLE: "a local model or device cannot be used, or an extra is not installed",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.CLOSED_PIPE: "the reader of the output went away",
}

# The first that fits counts, so the special ones stand before the general ones.
_CODES: tuple[tuple[type[e.AccelerateError], ExitCode], ...] = (
    (e.MissingExtra, ExitCode.UNAVAILABLE),
    (e.RuntimeUnavailable, ExitCode.UNAVAILABLE),
    (e.MissingCredential, ExitCode.AUTHENTICATION),
    (e.AuthenticationError, ExitCode.AUTHENTICATION),
    (e.QuotaExhausted, ExitCode.AUTHENTICATION),
    (e.BudgetExceeded, ExitCode.AUTHENTICATION),
    (e.ConfigurationError, ExitCode.USAGE),
    (e.RateLimited, ExitCode.BUSY),
    (e.AdmissionError, ExitCode.BUSY),
    (e.InvalidRequest, ExitCode.INVALID_REQUEST),
    (e.BackendError, ExitCode.UPSTREAM),
    (e.StoreError, ExitCode.UPSTREAM),
)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code an error ends a command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.UNEXPECTED)


def summary(error: BaseException) -> str:
    """What went wrong and where: one line, but for a configuration's list of problems."""
    others = getattr(error, "fallbacks", ())
    return _summary(error) + (f"; then {', '.join(others)}" if others else "")


def _summary(error: BaseException) -> str:
    if not isinstance(error, e.AccelerateError):
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not isinstance(error, e.BackendError):
        return error.message
    where = [error.backend or ""]
    if error.status is not None:
        where.append(f"HTTP {error.status}")
    if error.request_id:
        where.append(f"request id {error.request_id}")
    if error.attempts > 1:
        where.append(f"after {error.attempts} attempts")
    message = " ".join(error.message.split())  # a service may answer with a whole page
    said = ", ".join(filter(None, where))
    return f"{message} ({said})" if said else message


def hint(error: BaseException) -> str | None:
    """What may help, where that is known and the message does not say it."""
    if isinstance(error, e.MissingCredential):
        return (
            "`ipfs-accelerate config template` writes a file for keys, and `ipfs-accelerate config` shows those found"
        )
    if isinstance(error, e.AuthenticationError):
        return "`ipfs-accelerate config` shows which key is used, by name, and where it comes from"
    if isinstance(error, e.QuotaExhausted):
        return "the account behind the key has nothing left to spend: use another key or backend"
    if isinstance(error, e.RateLimited | e.AdmissionError):
        wait = error.retry_after
        return "try again later" if wait is None else f"try again in {max(1, round(wait))} s"
    if isinstance(error, e.ModelNotFound):
        asked = f" {error.backend}" if error.backend else ""
        return f"`ipfs-accelerate models{asked}` lists the models there are"
    if isinstance(error, e.ContextLengthExceeded):
        return "shorten the input, or use a model with a longer context"
    if isinstance(error, e.ConnectFailed):
        return "is the server running? `ipfs-accelerate config` shows the addresses in use, --base-url sets another"
    if isinstance(error, e.ReadTimeout):
        return "--timeout allows more time"
    if isinstance(error, e.StreamCut):
        return "what came so far is not the whole answer"
    if not isinstance(error, e.AccelerateError):
        return "-vv shows where it happened"
    return None


def describe(error: BaseException, code: ExitCode) -> dict[str, Any]:
    """The error as plain data, for ``--json``. Fields that say nothing are left out."""
    said: dict[str, Any] = {
        "type": type(error).__name__,
        "message": error.message if isinstance(error, e.AccelerateError) else str(error),
        "exit_code": int(code),
        "hint": hint(error),
        "code": getattr(error, "code", None),
        "retry_after": getattr(error, "retry_after", None),
    }
    if isinstance(error, e.BackendError):
        for name in ("backend", "status", "param", "request_id", "attempts"):
            said[name] = getattr(error, name)
    said["fallbacks"] = list(getattr(error, "fallbacks", ())) or None
    return {"error": {name: value for name, value in said.items() if value is not None}}
