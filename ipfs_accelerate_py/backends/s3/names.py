"""Names that come from outside: keys of objects, names and versions of models, paths inside a model's folder.

A path that a manifest names is written to on this machine, so it is held to what is a plain relative path on every
system. Nothing is put right here: what does not fit is refused.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ipfs_accelerate_py.errors import ConfigurationError, IntegrityError

__all__ = ["check_bucket", "check_key", "check_model_name", "check_version", "inside", "unsafe"]

#: S3's limit, in bytes of UTF-8.
MOST_KEY_BYTES = 1024
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
#: Names that Windows keeps for devices, whatever they end in.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_bucket(bucket: object) -> str:
    """A bucket's name; `ConfigurationError` for what is none, or where none was said."""
    if bucket is None or bucket == "":
        raise ConfigurationError(
            "no bucket: pass bucket=, or set it for all calls (S3_BUCKET, or bucket in the metadata's s3cfg)"
        )
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ConfigurationError(f"{bucket!r} is no name of a bucket")
    return bucket


def check_key(key: object) -> str:
    """A key that reaches the store as it is; obstore would take the slashes off its ends."""
    wrong = ""
    if not isinstance(key, str) or not key:
        wrong = "it must be a text"
    elif len(key.encode("utf-8", "surrogatepass")) > MOST_KEY_BYTES:
        wrong = f"it is longer than {MOST_KEY_BYTES} bytes"
    elif any(segment in ("", ".", "..") for segment in key.split("/")):
        wrong = "it has an empty segment, '.' or '..' between its slashes"
    elif _controls(key):
        wrong = "it has control characters"
    if wrong:
        raise ConfigurationError(f"{key!r} cannot be the key of an object: {wrong}")
    assert isinstance(key, str)
    return key


def check_model_name(name: object) -> str:
    """A model's name, such as ``llama`` or ``meta/llama-3``."""
    if not isinstance(name, str) or len(name) > 400 or not all(_WORD.fullmatch(each) for each in name.split("/")):
        raise ConfigurationError(
            f"{name!r} cannot be a model's name: letters, digits and . _ + - between slashes, none of them first but _"
        )
    return name


def check_version(version: object) -> str:
    if not isinstance(version, str) or len(version) > 200 or not _WORD.fullmatch(version):
        raise ConfigurationError(
            f"{version!r} cannot be a version: letters, digits and . _ + -, not beginning with . + -"
        )
    return version


def unsafe(path: object) -> str:
    """What is wrong with a file's path inside a model, in words; empty for a plain relative path with ``/``."""
    if not isinstance(path, str) or not path:
        return "it is no text"
    if _controls(path):
        return "it has control characters"
    if "\\" in path or ":" in path:
        return "it has a backslash or a colon, which lead elsewhere on some systems"
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            return "it is absolute, or has an empty segment, '.' or '..'"
        if segment != segment.rstrip(". ") or _DEVICE.fullmatch(segment):
            return f"{segment!r} is not a name on every system"
    if len(path.encode("utf-8", "replace")) > MOST_KEY_BYTES:
        return "it is too long"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return ""


def inside(folder: Path, path: str) -> Path:
    """Where a model's file goes below ``folder``. `IntegrityError` for a path that leads out, by a link as well."""
    wrong = unsafe(path)
    if wrong:
        raise IntegrityError(f"the manifest names the file {path!r}, which is refused: {wrong}")
    target = folder.joinpath(*PurePosixPath(path).parts)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise IntegrityError(f"the manifest's file {path!r} would be written outside {str(folder)!r}, by way of a link")
    return target


def _controls(text: str) -> bool:
    return any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text)
