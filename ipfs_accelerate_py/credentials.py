"""Where keys, addresses and model names come from, and the one class that holds a key's value.

The first place that has what is asked for is taken::

    explicit     an argument
    metadata     the dictionary a caller passed
    environment  NAME, then NAME_1, NAME_2, ...
    .env         in the working directory, or the nearest one above it
    ~/.ipfs_api_credentials

Both files are read as python-dotenv reads them, but without interpolation: a ``$`` in a key is part of it, and what
``${NAME}`` stands for would depend on a process environment that the caller may have replaced. Nothing is written to
``os.environ``, this module logs nothing, and no message holds a value.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, NoReturn

from .errors import ConfigurationError

__all__ = ["Credential", "Credentials", "Secret", "make_secret", "write_template"]

CREDENTIALS_FILE = ".ipfs_api_credentials"

_POSIX = os.name == "posix"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_FILE = 1 << 20

StrPath = str | os.PathLike[str]


class Secret:
    """A key's value, which no ``repr``, ``str``, pickle or comparison gives away. Only :meth:`reveal` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the request's header and for nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Compare with another Secret, in a time that does not tell where they differ."""
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest  # loads OpenSSL's bindings, which importing this package need not pay for

        encoding = ("utf-8", "surrogatepass")
        return compare_digest(self._value.encode(*encoding), other._value.encode(*encoding))

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would be written down in the clear")


@dataclass(frozen=True)
class Credential:
    """One key for a key pool.

    Attributes:
        name: what to call it where its value must not appear: the variable's name, ``explicit`` or ``metadata``.
        secret: its value.
        source: where it was found, in words for people.
    """

    name: str
    secret: Secret
    source: str


def make_secret(value: str | Secret, where: str) -> Secret:
    """Strip ``value`` and make it a Secret that can be sent in an HTTP header.

    Raises:
        ConfigurationError: it holds control characters or what latin-1 cannot express. The message names ``where``.
    """
    text = _clean(value, where)
    if any(ord(character) > 0xFF for character in text):
        raise ConfigurationError(
            f"{where} holds characters that a key cannot have (they do not fit into an HTTP header): copy the key again"
        )
    return Secret(text)


class Credentials:
    """The places, in their order. Files are read at the first use that gets as far, and again when they change.

    Args:
        metadata: values may be a string, a Secret, or a list of them (several keys).
        environ: the environment; the process's own by default.
        cwd: where the search for ``.env`` begins; the working directory at each use by default.
        dotenv_path: the ``.env`` file itself, instead of the search; None for none.
        home: the directory of ``.ipfs_api_credentials``; the user's own by default; None for none.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: StrPath | None = None,
        dotenv_path: StrPath | EllipsisType | None = ...,
        home: StrPath | EllipsisType | None = ...,
    ) -> None:
        self._metadata = metadata if metadata is not None else {}
        self._environ = environ if environ is not None else os.environ
        self._cwd = cwd
        self._dotenv_path = dotenv_path
        self._home = home
        self._read: dict[str, tuple[tuple[int, ...], dict[str, str]]] = {}

    def keys(
        self, explicit: str | Secret | None, metadata_names: Sequence[str], env_names: Sequence[str]
    ) -> list[Credential]:
        """All keys for a pool, from the first place that has any; without duplicates, and empty where there is none.

        Args:
            explicit: a key passed as an argument: it is then the only one.
            metadata_names: names in the metadata; the first that is set counts.
            env_names: variables; in each place the first that is set, plain or numbered, counts.

        Raises:
            ConfigurationError: a key that no HTTP header can carry, a value of the wrong type, or a file that cannot be
                read or that others can read.
        """
        found: list[Credential] = []
        if explicit is not None:
            found = [Credential("explicit", make_secret(explicit, "the key passed as an argument"), "argument")]
        return _usable(found) or self._metadata_keys(metadata_names) or self._named_keys(env_names)

    def value(self, explicit: str | None, metadata_names: Sequence[str], env_names: Sequence[str]) -> str | None:
        """An address or a name, which is no secret, from the first place that has it; None where there is none.

        Raises:
            ConfigurationError: it is no string or holds control characters, or a file is refused as in :meth:`keys`.
        """
        if explicit is not None and (text := _clean(explicit, "the value passed as an argument")):
            return text
        for name in metadata_names:
            value = self._metadata_value(name)
            if value is not None and (text := _clean(value, f"metadata {name!r}")):
                return text
        for source, variables in self._places():
            for name in env_names:
                if text := _clean(variables.get(name, ""), f"{name} (from {source})"):
                    return text
        return None

    def _metadata_value(self, name: str) -> Any:
        """A value of the metadata; ``outer.inner`` is one of a dictionary in it."""
        value = self._metadata.get(name)
        outer, dot, inner = name.partition(".")
        if value is None and dot and isinstance(group := self._metadata.get(outer), Mapping):
            value = group.get(inner)
        return value

    def _metadata_keys(self, names: Sequence[str]) -> list[Credential]:
        for name in names:
            where = f"metadata {name!r}"
            value: Any = self._metadata.get(name)
            several = isinstance(value, (list, tuple))
            found = [
                Credential(f"metadata_{number}" if several else "metadata", make_secret(item, where), where)
                for number, item in enumerate(value if several else (value,), 1)
                if item is not None
            ]
            if usable := _usable(found):
                return usable
        return []

    def _named_keys(self, names: Sequence[str]) -> list[Credential]:
        for source, variables in self._places():
            for name in names:
                found = [
                    Credential(each, make_secret(variables[each], f"{each} (from {source})"), source)
                    for each in _numbered(name, variables)
                ]
                if usable := _usable(found):
                    return usable
        return []

    def _places(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        yield "environment", self._environ
        dotenv = _find_dotenv(self._cwd) if isinstance(self._dotenv_path, EllipsisType) else self._dotenv_path
        if dotenv is not None:
            yield os.fspath(dotenv), self._file(os.fspath(dotenv), private=False)
        home = os.path.expanduser("~") if isinstance(self._home, EllipsisType) else self._home
        if home is not None:
            path = os.path.join(home, CREDENTIALS_FILE)
            yield path, self._file(path, private=True)

    def _file(self, path: str, *, private: bool) -> dict[str, str]:
        """The variables in a file; none if there is no such file."""
        try:
            # Not to wait for ever at the end of a pipe that nobody writes to.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
        with open(descriptor, "rb") as file:
            # Of the file that is open: its name may lead to another one by now.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"{path} is not a regular file")
            if private and _POSIX and status.st_mode & 0o077:
                raise ConfigurationError(
                    f"{path} holds keys and other users of this machine can reach it: run chmod 600 {path}"
                )
            signature = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._read.get(path)
            if known is not None and known[0] == signature:
                return known[1]
            raw = file.read(_MAX_FILE + 1)
        if len(raw) > _MAX_FILE:
            raise ConfigurationError(f"{path} is no file of variables: it is larger than {_MAX_FILE} bytes")
        variables = _parse(raw)
        self._read[path] = (signature, variables)
        return variables


def write_template(path: StrPath | None = None) -> str:
    """Write the commented template of the credentials file, readable by its owner alone, and return its path.

    Raises:
        ConfigurationError: the file exists (it is never overwritten), or it cannot be written.
    """
    from importlib.resources import files

    target = os.fspath(path) if path is not None else os.path.join(os.path.expanduser("~"), CREDENTIALS_FILE)
    content = files(__package__).joinpath("credentials.template").read_bytes()
    try:
        # Created with its final mode, so that at no moment can others open it.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{target} exists already and is left as it is") from None
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}") from None
    with open(descriptor, "wb") as file:
        file.write(content)
    return target


def _clean(value: object, where: str) -> str:
    """``value`` as text without white space around it; control characters inside it are refused."""
    if isinstance(value, Secret):
        value = value.reveal()
    elif isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a version or a port, as YAML reads it
    if not isinstance(value, str):
        raise ConfigurationError(f"{where} must be a string, not {type(value).__name__}")
    text = value.strip()
    if _CONTROL.search(text):
        raise ConfigurationError(f"{where} holds a line break or another control character: copy it again")
    return text


def _usable(found: list[Credential]) -> list[Credential]:
    """Without empty keys and without a second copy of the same one."""
    unique: dict[str, Credential] = {}
    for credential in found:
        if value := credential.secret.reveal():
            unique.setdefault(value, credential)
    return list(unique.values())


def _numbered(name: str, variables: Mapping[str, str]) -> list[str]:
    """``name`` and its numbered forms, as far as they are set. A gap in the numbers ends nothing."""
    pattern = re.compile(re.escape(name) + r"_([1-9][0-9]{0,5})")
    numbers = sorted(int(match[1]) for each in variables if (match := pattern.fullmatch(each)))
    return [each for each in (name, *(f"{name}_{number}" for number in numbers)) if each in variables]


def _parse(raw: bytes) -> dict[str, str]:
    from io import StringIO

    from dotenv import dotenv_values

    # Bytes that are no UTF-8 become characters that no key can have, so the error names the variable they stand in.
    text = raw.decode("utf-8-sig", "replace")
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def _find_dotenv(cwd: StrPath | None) -> str | None:
    """The nearest ``.env`` in ``cwd`` or above it, as python-dotenv's ``find_dotenv(usecwd=True)`` finds it.

    Two differences: a named pipe is no candidate, as reading it can block; and above ``cwd`` a file of another user
    (root aside) is passed over. Else anyone could put a base URL into /tmp/.env, and be sent the keys of whoever works
    below.
    """
    try:
        directory = os.path.abspath(cwd if cwd is not None else os.getcwd())
    except OSError:  # the working directory has been deleted
        return None
    above = False
    while True:
        path = os.path.join(directory, ".env")
        try:
            status = os.stat(path)
        except OSError:
            pass
        else:
            trusted = not above or not _POSIX or status.st_uid in (0, os.geteuid())
            if stat.S_ISREG(status.st_mode) and trusted:
                return path
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory, above = parent, True
