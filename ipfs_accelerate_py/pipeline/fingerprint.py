"""What makes two calls the same request: one short name for all that can change the answer.

Caches and single flight ask here, so that they agree. What only changes how a call is treated on its way (priority,
limits of time, session, tags, request id) is no part of it.
"""

from __future__ import annotations

import hashlib

import msgspec

from ipfs_accelerate_py.types import Call, Operation, RawRequest

__all__ = ["deterministic", "fingerprint"]

#: Bytes of a fingerprint. At 128 bits an accident is out of the question, and nobody gains by making one: callers
#: whose answers must stay apart have tenants of their own, and the tenant is hashed with the rest.
_SIZE = 16
#: Operations whose answer depends on nothing but the request.
_COMPUTED = frozenset(
    {Operation.EMBED, Operation.RERANK, Operation.CLASSIFY, Operation.COUNT, Operation.MODERATE, Operation.MODELS}
)
#: Operations that sample, unless they are told not to.
_SAMPLED = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.TRANSCRIBE})
_encoder = msgspec.json.Encoder(order="sorted")


def fingerprint(call: Call, *, tenant: bool = True, stream: bool = True) -> bytes | None:
    """16 bytes that are equal where two calls ask the same, or None where a call cannot be named like that.

    Of it are: operation, the whole request with its options (in whatever order they were written), whether it is
    streamed, the body to be forwarded and its format, the key asked for by name, the caller's own headers, and the
    tenant (unless ``tenant`` is False; without ``stream`` it is the same for both ways to answer).

    None for what changes something (`Operation.STORE`, and `Operation.RAW` but for ``GET``), for what is no JSON, and
    for a caller's format that does not say what it is (`Variants.fingerprint`).
    """
    operation = call.operation
    if operation is Operation.STORE:
        return None
    request = call.request
    if operation is Operation.RAW and not (isinstance(request, RawRequest) and request.method.upper() == "GET"):
        return None
    body = b""
    caller: list[object] = []
    if call.passthrough is not None:
        # The body is the request; what the call has beside it is a summary. It is hashed as it is: a large one (with
        # images in it) would otherwise be copied into base64 first.
        body = call.passthrough.body
        caller = [call.passthrough.dialect, call.passthrough.hide_usage, call.passthrough.headers]
    elif call.variants is not None:
        # The answer may be bytes in the caller's own format, and the request holds what our vocabulary has no word for.
        named: bytes | None = getattr(call.variants, "fingerprint", None)
        if named is None:
            return None
        caller = [named]
    headers = call.headers
    try:
        head = _encoder.encode(
            [
                operation.value,
                call.stream if stream else None,
                call.tenant if tenant else None,
                call.key_name,
                None if headers is None else {name.lower(): value for name, value in headers.items()},
                caller,
                request,
            ]
        )
    except (TypeError, ValueError, RecursionError):
        return None
    # The length keeps head and body apart.
    return hashlib.blake2b(b"%d:%b%b" % (len(head), head, body), digest_size=_SIZE).digest()


def deterministic(call: Call) -> bool:
    """Whether asking twice may be expected to give the same answer.

    Embeddings, rankings, labels, counts of tokens, moderations and lists of models: always. Text (chat, completions,
    responses, transcriptions): with ``temperature=0`` or with a ``seed``. Speech, images, tensors and everything else:
    never, for nobody here knows what stands behind them.
    """
    operation = call.operation
    if operation in _COMPUTED:
        return True
    if operation not in _SAMPLED:
        return False
    options = call.request.options
    return options.get("temperature") == 0 or options.get("seed") is not None
