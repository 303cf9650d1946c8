"""Where a store is and what opens it: endpoint, region, credentials; and obstore's own object for a bucket.

obstore would look in the environment by itself, and ask a cloud machine's metadata service for keys where it finds
none. Neither may decide here: everything is told to it, and without keys there is an error, or no signature where that
was asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import ConfigurationError, MissingCredential, MissingExtra
from ipfs_accelerate_py.settings import Timeouts

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store

__all__ = ["AWS", "Access", "Keys", "loaded"]

#: Stands for Amazon's own service, whose address depends on the region and the bucket.
AWS = "https://s3.amazonaws.com"
DEFAULT_REGION = "us-east-1"
#: What obstore is told where there is no limit.
_NEVER = timedelta(days=365)


def loaded() -> Any:
    """The module obstore. Raises `MissingExtra` without ``[s3]``."""
    try:
        import obstore
    except ImportError as problem:
        raise MissingExtra(
            f"S3 needs obstore, which is not installed ({problem}): pip install 'ipfs-accelerate-py[s3]'"
        ) from None
    return obstore


@dataclass(frozen=True)
class Keys:
    """A pair of keys, with the token that belongs to it where they are for a while only."""

    access_key: Secret
    secret_key: Secret
    token: Secret | None = None

    def hide(self, text: str) -> str:
        """A text of the store's without the keys that it may quote back."""
        for name, secret in (("access key", self.access_key), ("secret key", self.secret_key), ("token", self.token)):
            if secret is not None:
                text = text.replace(secret.reveal(), f"[{name}]")
        return text


class _Provider:
    """Gives obstore the keys when it signs, so that they are in none of its own printable settings."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def __call__(self) -> S3Credential:
        keys = self._keys
        return {
            "access_key_id": keys.access_key.reveal(),
            "secret_access_key": keys.secret_key.reveal(),
            "token": None if keys.token is None else keys.token.reveal(),
            "expires_at": None,
        }


class Access:
    """Endpoint, region and keys, checked when they are first needed."""

    def __init__(self, base_url: str, options: Mapping[str, Any]) -> None:
        self._base_url = base_url
        self._options = options

    @property
    def region(self) -> str:
        return str(self._options.get("region") or DEFAULT_REGION)

    def keys(self) -> Keys | None:
        """The keys; None where unsigned requests were asked for. Raises `MissingCredential` for none, or for half."""
        told = self._options
        access, secret, token = told.get("access_key"), told.get("secret_key"), told.get("session_token")
        names = ("S3_ACCESS_KEY", "S3_SECRET_KEY")
        if access is None and secret is None:
            access, secret = told.get("aws_access_key_id"), told.get("aws_secret_access_key")
            token = told.get("aws_session_token")
            names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        if told.get("anonymous"):
            return None
        if access is None and secret is None:
            raise MissingCredential(
                "Authentication error: no keys for 's3_kit'; set S3_ACCESS_KEY and S3_SECRET_KEY (or AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY) in the environment or in .env, or pass s3cfg in the metadata; for a public "
                "bucket pass anonymous=True"
            )
        if access is None or secret is None:
            missing = names[0 if access is None else 1]
            raise MissingCredential(f"Authentication error: of the two keys for 's3_kit' one is missing; set {missing}")
        return Keys(access, secret, token)

    def endpoint(self, bucket: str) -> tuple[str, bool]:
        """The URL for a bucket, and whether the bucket is in the host's name."""
        url = self._base_url.rstrip("/")
        if url == AWS:
            host = f"s3.{self.region}.amazonaws.com" + (".cn" if self.region.startswith("cn-") else "")
            # A dot in the bucket's name does not fit the certificate.
            return (f"https://{host}", False) if "." in bucket else (f"https://{bucket}.{host}", True)
        try:
            parts = urlsplit(url)
            name, _ = parts.hostname, parts.port
        except ValueError:
            raise ConfigurationError("the S3 endpoint is no URL: write it as https://host:port") from None
        if parts.scheme not in ("http", "https") or not name or parts.query or parts.fragment:
            raise ConfigurationError("the S3 endpoint must be a URL such as https://host:port")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError("the S3 endpoint must not hold credentials; set the keys by themselves")
        if parts.scheme == "http" and not _loopback(name) and not self._options.get("allow_http"):
            raise ConfigurationError(
                f"the S3 endpoint on {name} is http, and what is sent there can be read on the way; use https, or pass "
                "allow_http=True for a network of your own"
            )
        return url, False

    def open(self, bucket: str, timeouts: Timeouts) -> S3Store:
        """obstore's store for a bucket. Its own retries are off: those in front of it are the ones."""
        loaded()
        from obstore.store import S3Store

        keys = self.keys()
        url, in_host = self.endpoint(bucket)
        config: dict[str, Any] = {
            "endpoint": url,
            "aws_endpoint_url_s3": url,  # of the same name in the environment, and it would go before
            "region": self.region,
            "virtual_hosted_style_request": in_host,
            "skip_signature": keys is None,
            "disable_bulk_delete": True,
        }
        return S3Store(
            bucket,
            config=config,  # type: ignore[arg-type]  # a TypedDict with the same keys
            client_options={
                "allow_http": url.startswith("http://"),
                "connect_timeout": _limit(timeouts.connect),
                "read_timeout": _limit(timeouts.idle),
                "timeout": _NEVER,
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
            credential_provider=None if keys is None else _Provider(keys),
        )


def _limit(seconds: float | None) -> timedelta:
    return _NEVER if seconds is None else timedelta(seconds=seconds)


def _loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
