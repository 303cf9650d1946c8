"""Who asks: the key that a request shows, and what its holder may do."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping

from ipfs_accelerate_py.dialects.serving import Ingress, bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.gateway.entries import GatewayKey, KeyEntry
from ipfs_accelerate_py.types import Call, Priority

__all__ = ["ANYBODY", "Holder", "Keyring"]

_BEARER = "Authorization: Bearer <key>"
#: Where a vendor's own client puts a key.
_KEY_HEADERS = {"anthropic": "x-api-key: <key>", "gemini": "x-goog-api-key: <key>"}


class Holder:
    """What the holder of one key may do.

    Attributes:
        name: of the key; ``tenant``: who pays.
        operator: it is a key of whoever runs the gateway, and may see what everybody does.
    """

    __slots__ = ("_ceiling", "_expires", "_names", "_prefixes", "name", "operator", "tenant")

    def __init__(self, name: str = "", tenant: str = "", entry: KeyEntry | None = None) -> None:
        self.name = name
        self.tenant = tenant
        self.operator = entry is None
        models = None if entry is None else entry.models
        self._names = None if models is None else frozenset(each for each in models if not each.endswith("*"))
        self._prefixes = tuple(each[:-1] for each in models or () if each.endswith("*"))
        self._expires = None if entry is None else entry.expires
        self._ceiling = Priority.HIGH if entry is None else entry.priority

    def may_ask(self, model: str) -> bool:
        """Whether it may ask for a model of this name."""
        return self._names is None or model in self._names or model.startswith(self._prefixes or ("\0",))

    def expired(self, now: float) -> bool:
        return self._expires is not None and now >= self._expires

    def sign(self, call: Call) -> None:
        """Write into a call who asks. Asked for more than it may, a priority becomes the highest that it may have."""
        call.tenant = self.tenant
        call.caller = self.name
        call.priority = max(call.priority, self._ceiling)
        if call.session and self.tenant:
            call.session = f"{self.tenant}/{call.session}"


#: Who asks a gateway that wants no key.
ANYBODY = Holder()


class Keyring:
    """All keys by their digests.

    A dictionary is enough against whoever measures time: what is looked up is the SHA-256 of what was sent, so that a
    guess that is nearly right is found as far away from the key as any other. Its cost does not grow with the keys.
    """

    def __init__(
        self, keys: Iterable[GatewayKey], entries: Iterable[KeyEntry], clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._holders: dict[bytes, Holder] = {}
        for entry in entries:
            self._holders[entry.digest] = Holder(entry.name, entry.tenant, entry)
        for key in keys:
            self._holders[digest(key.secret.reveal().encode())] = Holder(key.name)

    def __bool__(self) -> bool:
        return bool(self._holders)

    def names(self) -> list[str]:
        return [holder.name for holder in self._holders.values()]

    def holder(self, headers: Mapping[bytes, bytes], form: Ingress) -> Holder:
        """Whose key a request shows. Raises `InvalidRequest` with the status 401.

        Each vendor's client has a header of its own for it; the key in a URL, where logs would keep it, is not taken.
        """
        token = shown(headers)
        found = self._holders.get(digest(token))
        if found is None:
            text = "Incorrect API key provided." if token else "You did not provide an API key."
            raise refusal(text, form)
        if found.expired(self._clock()):
            raise refusal("This API key has expired.", form)
        return found


def shown(headers: Mapping[bytes, bytes]) -> bytes:
    """The key in a request's headers; empty where there is none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        token = headers.get(b"x-api-key") or headers.get(b"x-goog-api-key") or headers.get(b"api-key") or b""
    return token.strip()


def digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def refusal(text: str, form: Ingress) -> InvalidRequest:
    return bad_request(
        f"{text} This gateway wants its key in the header '{_KEY_HEADERS.get(form.name, _BEARER)}'.",
        "invalid_api_key", None, 401,
    )  # fmt: skip
