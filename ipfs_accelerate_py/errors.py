"""The closed error tree. Every failure a caller can see is one of these.

::

    AccelerateError
      ConfigurationError      wrong use, before any I/O
        UnknownBackend MissingCredential MissingExtra UnsupportedOperation LoopDetected
      AdmissionError          refused by us, nothing was sent
        QueueFull QueueTimeout CircuitOpen LimitExceeded BudgetExceeded
      BackendError            the upstream's answer, or the lack of one
        AuthenticationError   401 403          rotate, quarantine the key
        QuotaExhausted        402, 429+code    rotate, quarantine until reset
        RateLimited           429              retry, rotate, retry_after
        InvalidRequest        400 404 413 422  give up
          ContextLengthExceeded ContentFiltered ModelNotFound
        ServerError           5xx 529          retry, outage
        TransportError        no answer        retry, outage
          ConnectFailed ReadTimeout StreamCut
        ProtocolError         unreadable answer
      StoreError
        NotFound IntegrityError LedgerError
      RuntimeUnavailable      device or model cannot run here, with the reason
        MemoryExhausted       no room for the model, or for what it was asked
        WorkerLost            its process ended in mid-call   retry

An error carries its own verdict, and policies read the verdict instead of matching text:

``retryable``
    the same target may be asked again;
``rotate``
    another key of the same target may do better;
``outage``
    the target itself is unwell (this is what moves a circuit breaker);
``retry_after``
    seconds to wait before asking again, or None where nobody said.

No message may contain a key's value; keys are spoken of by name.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccelerateError",
    "AdmissionError",
    "AuthenticationError",
    "BackendError",
    "BudgetExceeded",
    "CircuitOpen",
    "ConfigurationError",
    "ConnectFailed",
    "ContentFiltered",
    "ContextLengthExceeded",
    "IntegrityError",
    "InvalidRequest",
    "LedgerError",
    "LimitExceeded",
    "LoopDetected",
    "MemoryExhausted",
    "MissingCredential",
    "MissingExtra",
    "ModelNotFound",
    "NotFound",
    "ProtocolError",
    "QueueFull",
    "QueueTimeout",
    "QuotaExhausted",
    "RateLimited",
    "ReadTimeout",
    "RuntimeUnavailable",
    "ServerError",
    "StoreError",
    "StreamCut",
    "TransportError",
    "UnknownBackend",
    "UnsupportedOperation",
    "WorkerLost",
]


class AccelerateError(Exception):
    """Base of every error this package raises.

    Parameters are keyword-only besides the message. ``retryable`` and ``retry_after`` given here override the class's
    own verdict for this one error (a provider's ``x-should-retry`` header does so).
    """

    retryable: bool = False
    rotate: bool = False
    outage: bool = False
    retry_after: float | None = None
    #: The HTTP status our own gateway answers with when this error reaches it.
    http_status: int = 500
    #: A stable machine-readable word; a provider's own code takes its place where it sent one.
    code: str | None = None
    #: What other targets of a router said, each as its name and the kind of its error.
    fallbacks: tuple[str, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        if retry_after is not None:
            self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only state does not survive the default pickling, and errors cross process pools.
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(kind: type[AccelerateError], message: str, state: dict[str, Any]) -> AccelerateError:
    error = kind.__new__(kind, message)
    error.__dict__.update(state)
    return error


# --- wrong use, before any I/O -----------------------------------------------------------------------------------


class ConfigurationError(AccelerateError, ValueError):
    """Wrong use or wrong settings, found before any I/O. The message says what to change.

    Also a ``ValueError``: that is what Python calls a wrong value, and what callers of the older API catch.
    """

    http_status = 400
    code = "configuration_error"


class UnknownBackend(ConfigurationError):
    """No backend has this name."""

    code = "unknown_backend"


class MissingCredential(ConfigurationError):
    """A key is needed and none was found; the message names the variable to set."""

    http_status = 401
    code = "missing_credential"


class MissingExtra(ConfigurationError):
    """An optional dependency is not installed; the message names the extra to install."""

    http_status = 501
    code = "missing_extra"


class UnsupportedOperation(ConfigurationError):
    """The service has no such operation, and nothing is made up in its place."""

    code = "unsupported_operation"


class LoopDetected(ConfigurationError):
    """The call has been through too many routers: one of their targets leads back to where it came from."""

    http_status = 508
    code = "loop_detected"


# --- refused by us -----------------------------------------------------------------------------------------------


class AdmissionError(AccelerateError):
    """Refused by us; nothing was sent upstream."""

    http_status = 503
    code = "admission_error"


class QueueFull(AdmissionError):
    """The queue in front of the target is full."""

    http_status = 429
    code = "queue_full"
    retry_after = 1.0


class QueueTimeout(AdmissionError):
    """The call waited in the queue for as long as it was allowed to."""

    http_status = 503
    code = "queue_timeout"


class CircuitOpen(AdmissionError):
    """The target's circuit breaker is open; ``retry_after`` is the time until it will admit a probe."""

    http_status = 503
    code = "circuit_open"


class LimitExceeded(AdmissionError):
    """The call is over a limit of ours, of its tenant, key or model; ``retry_after`` says when it would not be.

    ``scope`` says whose limit it is: "tenant", "key", "model" or "global"; ``limit`` what is limited: "requests",
    "tokens" or "concurrency".
    """

    http_status = 429
    code = "rate_limit_exceeded"
    scope = ""
    limit = ""


class BudgetExceeded(AdmissionError):
    """The call would spend more than its budget allows.

    ``scope`` is as of `LimitExceeded`; ``limit`` is "usd" or "tokens".
    """

    http_status = 429
    code = "budget_exceeded"
    scope = ""
    limit = ""


# --- the upstream's answer ---------------------------------------------------------------------------------------


class BackendError(AccelerateError, ValueError):
    """The upstream refused, failed or did not answer.

    Also a ``ValueError``, because callers of the older API catch that.

    Attributes:
        status: HTTP status of the upstream's answer, or None where there was none.
        code: the provider's own error code, or a word of ours.
        type: the provider's own error type.
        param: the request field the provider blames.
        request_id: the provider's request id, for its support desk.
        backend: name of the backend asked.
        attempts: how many attempts were made for the call, this one included.
        body: the provider's decoded error object, where it sent one.
    """

    http_status = 502

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        backend: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        body: Any = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable, retry_after=retry_after)
        self.status = status
        self.type = type
        self.param = param
        self.request_id = request_id
        self.backend = backend
        self.body = body
        self.attempts = 1


class AuthenticationError(BackendError):
    """401 or 403: the key is wrong, revoked or not allowed to do this."""

    rotate = True
    http_status = 401
    code = "authentication_error"


class QuotaExhausted(BackendError):
    """The account behind the key has nothing left to spend."""

    rotate = True
    http_status = 429
    code = "insufficient_quota"


class RateLimited(BackendError):
    """429: too many requests or tokens for now."""

    retryable = True
    rotate = True
    http_status = 429
    code = "rate_limit_exceeded"


class InvalidRequest(BackendError):
    """The request is wrong; asking again cannot help."""

    http_status = 400
    code = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit into the model's context."""

    code = "context_length_exceeded"


class ContentFiltered(InvalidRequest):
    """The provider's content policy refused the request."""

    code = "content_policy_violation"


class ModelNotFound(InvalidRequest):
    """The target has no such model."""

    http_status = 404
    code = "model_not_found"


class ServerError(BackendError):
    """5xx: the upstream failed."""

    retryable = True
    outage = True
    code = "server_error"


class TransportError(BackendError):
    """There was no answer, or it broke off."""

    retryable = True
    outage = True
    code = "transport_error"


class ConnectFailed(TransportError):
    """No connection: DNS, TCP, TLS, or the limit of time for them."""

    code = "connect_failed"


class ReadTimeout(TransportError):
    """The upstream was silent for longer than the limit allows.

    Not retried on the same target: waiting again on a silent route doubles the wait and helps nobody. A fallback may.
    """

    retryable = False
    http_status = 504
    code = "read_timeout"


class StreamCut(TransportError):
    """The answer broke off before its end; what came so far is not the whole."""

    code = "stream_cut"


class ProtocolError(BackendError):
    """The upstream answered something that is not its own protocol."""

    code = "protocol_error"


# --- stores and runtimes -----------------------------------------------------------------------------------------


class StoreError(AccelerateError):
    """A blob store failed."""

    code = "store_error"


class NotFound(StoreError):
    """No store has this name or CID."""

    http_status = 404
    code = "not_found"


class IntegrityError(StoreError):
    """Bytes do not match their CID; never retried from the same peer."""

    code = "integrity_error"


class LedgerError(StoreError):
    """The ledger's database could not be read; what there is to write waits for it."""

    code = "ledger_unavailable"


class RuntimeUnavailable(AccelerateError):
    """A device or model cannot run here; the message gives the reason."""

    http_status = 503
    code = "runtime_unavailable"


class MemoryExhausted(RuntimeUnavailable):
    """There is no room for a model, or for what it was asked to do: the message says how much there is."""

    http_status = 507
    code = "out_of_memory"


class WorkerLost(RuntimeUnavailable):
    """The process that a model runs in ended while it had the call. Another is started for the next one."""

    retryable = True
    code = "worker_lost"
