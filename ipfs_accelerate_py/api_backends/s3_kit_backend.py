"""`s3_kit`: files and models in a store of objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn

from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation

__all__ = ["s3_kit"]

_VERBS = (
    "upload_file",
    "download_file",
    "list_objects",
    "delete_object",
    "head_object",
    "create_presigned_url",
    "upload_model",
    "download_model",
    "list_models",
)
Path = str | os.PathLike[str]
Progress = Callable[[int, int], object]


class s3_kit(ApiBackend):  # noqa: N801  # the older API's name
    """Any S3-compatible store.

    ::

        api = s3_kit(metadata={"s3cfg": {"accessKey": "...", "secretKey": "...", "endpoint": "https://..."}})
        api.upload_file("weights.bin", bucket="models", key="tiny/weights.bin")
        api.upload_model("./tiny", "tiny", version="1.0", bucket="models")

    Keys, endpoint, region and a default ``bucket``: ``s3cfg`` in the metadata, or ``S3_ACCESS_KEY``,
    ``S3_SECRET_KEY``, ``S3_ENDPOINT``, ``S3_BUCKET``, or the variables that begin with ``AWS_``. A ``progress`` is
    called with the bytes done and those there are, on the thread that all synchronous clients share: keep it short.
    """

    _service: ClassVar[str] = "s3_kit"

    async def _upload_file(
        self, client: AsyncClient, /, file_path: Path, bucket: str | None = None, key: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Store a file: ``bucket``, ``key``, ``size``, ``sha256``, ``etag``.

        Options: ``metadata`` (texts by name), ``content_type``, ``content_encoding``, ``content_disposition``,
        ``content_language``, ``cache_control``, ``part_size`` (bytes), ``progress``.
        """
        return await _done(client, "upload_file", options, file_path=file_path, bucket=bucket, key=key)

    upload_file = blocking(_upload_file)
    aupload_file = awaitable(_upload_file)

    async def _download_file(
        self,
        client: AsyncClient,
        /,
        bucket: str | None = None,
        key: str | None = None,
        file_path: Path | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Fetch an object into a file, which appears when it is whole and checked: ``file_path``, ``size``, ``sha256``.

        Where an earlier download of the same object broke off it goes on (``resumed_from``). Options: ``sha256`` (what
        it must be), ``progress``.
        """
        return await _done(client, "download_file", options, bucket=bucket, key=key, file_path=file_path)

    download_file = blocking(_download_file)
    adownload_file = awaitable(_download_file)

    async def _list_objects(
        self, client: AsyncClient, /, bucket: str | None = None, prefix: str = "", **options: Any
    ) -> dict[str, Any]:
        """``objects`` whose keys begin with ``prefix``, each with ``key``, ``size``, ``etag``, ``last_modified``.

        Options: ``delimiter="/"`` (then there are ``prefixes`` too), ``max_keys``, ``start_after``.
        """
        return await _done(client, "list_objects", options, bucket=bucket, prefix=prefix)

    list_objects = blocking(_list_objects)
    alist_objects = awaitable(_list_objects)

    async def _delete_object(
        self, client: AsyncClient, /, bucket: str | None = None, key: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Take an object away; one that is not there is no error."""
        return await _done(client, "delete_object", options, bucket=bucket, key=key)

    delete_object = blocking(_delete_object)
    adelete_object = awaitable(_delete_object)

    async def _head_object(
        self, client: AsyncClient, /, bucket: str | None = None, key: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """What an object is: ``size``, ``etag``, ``last_modified``, ``content_type``, ``metadata``, ``sha256``."""
        return await _done(client, "head_object", options, bucket=bucket, key=key)

    head_object = blocking(_head_object)
    ahead_object = awaitable(_head_object)

    async def _create_presigned_url(
        self,
        client: AsyncClient,
        /,
        bucket: str | None = None,
        key: str | None = None,
        expiration: float = 3600,
        **options: Any,
    ) -> str:
        """A URL by which anybody may fetch the object for ``expiration`` seconds, or store it (``method="PUT"``)."""
        found = await _done(client, "create_presigned_url", options, bucket=bucket, key=key, expiration=expiration)
        url: str = found["url"]
        return url

    create_presigned_url = blocking(_create_presigned_url)
    acreate_presigned_url = awaitable(_create_presigned_url)

    async def _upload_model(
        self,
        client: AsyncClient,
        /,
        path: Path,
        name: str,
        version: str | None = None,
        bucket: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Store a folder as a version of a model: ``name``, ``version``, ``files``, ``size``, ``uploaded``.

        A version never changes; without one it is called by what it holds. What is stored already is not sent again.
        Options: ``metadata``, ``follow_symlinks``, ``progress``.
        """
        return await _done(client, "upload_model", options, path=path, name=name, version=version, bucket=bucket)

    upload_model = blocking(_upload_model)
    aupload_model = awaitable(_upload_model)

    async def _download_model(
        self,
        client: AsyncClient,
        /,
        name: str,
        version: str | None = None,
        destination: Path | None = None,
        bucket: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Fetch a model into the folder ``destination``, the newest version unless one is named, and check it all."""
        return await _done(
            client, "download_model", options, name=name, version=version, destination=destination, bucket=bucket
        )

    download_model = blocking(_download_model)
    adownload_model = awaitable(_download_model)

    async def _list_models(
        self, client: AsyncClient, /, name: str | None = None, bucket: str | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Every version of every model that is whole, or of one: ``name``, ``version``, ``last_modified``."""
        found = await _done(client, "list_models", options, name=name, bucket=bucket)
        models: list[dict[str, Any]] = found["models"]
        return models

    list_models = blocking(_list_models)
    alist_models = awaitable(_list_models)

    async def _operate(self, client: AsyncClient, /, operation: str, **arguments: Any) -> dict[str, Any]:
        if operation not in _VERBS:
            raise UnsupportedOperation(f"s3_kit has no operation {operation!r}; it has: {', '.join(_VERBS)}")
        return await _done(client, operation, arguments)

    def create_s3_endpoint_handler(self, **given: Any) -> Callable[..., HandlerResult]:
        """A handler: ``handler("head_object", bucket="b", key="k")["size"]``, or ``(await handler(...))["size"]``.

        Arguments given here (``bucket``, for instance) hold for each call unless it has its own.
        """

        def handler(operation: str, **arguments: Any) -> HandlerResult:
            """Do one of the operations: the six of objects, or the three of models."""
            return HandlerResult(self._begin(type(self)._operate, operation, **{**given, **arguments}))

        return handler

    # --- what does not fit ---------------------------------------------------------------------------------------

    def _no_requests(self, *given: Any, **options: Any) -> NoReturn:
        raise UnsupportedOperation(
            f"a store of objects is not asked by requests of the caller's own; its operations are: {', '.join(_VERBS)}"
        )

    make_post_request = _no_requests
    amake_post_request = _no_requests
    queue_with_priority = _no_requests

    def create_endpoint(self, api_key: str | Mapping[str, str] | None = None, **settings: Any) -> str:
        """As every class has it; another account's keys are ``access_key`` and ``secret_key``, not an ``api_key``."""
        if api_key is not None:
            raise UnsupportedOperation(
                "s3_kit has no pool of keys; pass access_key= and secret_key= for another account"
            )
        return super().create_endpoint(**settings)


async def _done(client: AsyncClient, verb: str, options: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
    given = {name: value for name, value in {**options, **arguments}.items() if value is not None}
    if "stream" in given:
        raise ConfigurationError("a store of objects has no streaming answers; progress= tells how far a transfer is")
    raw: dict[str, Any] = (await client.store(verb, **given)).raw
    return raw
