"""``keys``: the gateway's virtual keys, and what the holder of each may do."""

from __future__ import annotations

import datetime
import hashlib
import re
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway.entries import KeyEntry
from ipfs_accelerate_py.gateway.rates import read_rates
from ipfs_accelerate_py.gateway.yaml_source import Field, Section
from ipfs_accelerate_py.types import Priority

__all__ = ["read_keys"]

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_NAME = re.compile(r"[\w.@/+-]{1,64}")


def read_keys(field: Field) -> tuple[KeyEntry, ...]:
    """The entries. Of a key only the SHA-256 is kept; it may be given as that from the beginning."""
    found: dict[str, KeyEntry] = {}
    digests: dict[bytes, str] = {}
    for section in field.sections():
        for entry, place in _entry(section):
            if entry.name in found:
                place.error(f"the name {entry.name!r} is taken ({found[entry.name].place})")
            elif entry.digest in digests:
                place.error(f"is the key of {digests[entry.digest]!r}; each key has one entry")
            else:
                found[entry.name] = entry
                digests[entry.digest] = entry.name
    return tuple(found.values())


def _entry(section: Section) -> list[tuple[KeyEntry, Field]]:
    name_field = section.take("name")
    key, digest, file = section.take("key"), section.take("key_sha256"), section.take("file")
    tenant_field, models_field = section.take("tenant"), section.take("models")
    tenant = tenant_field.checked(_name) if tenant_field is not None else None
    models = models_field.checked(_models) if models_field is not None else None
    priority_field, expires_field = section.take("priority"), section.take("expires")
    priority = (priority_field.checked(_priority) if priority_field is not None else None) or Priority.HIGH
    expires = expires_field.checked(_instant) if expires_field is not None else None
    limits = read_rates(section)
    section.finish()
    given = [each for each in (key, digest, file) if each is not None]
    if len(given) != 1:
        section.problems.error(
            section.line, section.path, "needs one of key (os.environ/NAME), key_sha256 and file (lines of sha256sum)"
        )
        return []
    named: list[tuple[str, bytes]] = []
    if file is not None:
        if name_field is not None:
            name_field.error("the names stand in the file, one beside each SHA-256")
        named = _from_file(file)
    else:
        name = name_field.checked(_name) if name_field is not None else None
        if name_field is None:
            section.problems.error(section.line, section.path, "has no name, by which logs and the ledger call the key")
        made = _digest_of(key) if key is not None else _given_digest(digest)
        if name is not None and made is not None:
            named = [(name, made)]
    place = section.problems.place(section.line)
    return [
        (KeyEntry(name, made, tenant or name, models, priority, expires, limits, place), given[0])
        for name, made in named
    ]


def _digest_of(field: Field) -> bytes | None:
    found = field.secret()
    return None if found is None else hashlib.sha256(found[1].reveal().encode()).digest()


def _given_digest(field: Field | None) -> bytes | None:
    text = field.text() if field is not None else None
    if field is None or text is None:
        return None
    if _DIGEST.fullmatch(text) is None:
        field.error('must be the SHA-256 of the key in 64 hex digits: printf %s "$KEY" | sha256sum')
        return None
    return bytes.fromhex(text)


def _from_file(field: Field) -> list[tuple[str, bytes]]:
    """Lines of ``<sha256> <name>``, as sha256sum writes them; empty ones and those with a # in front are left out."""
    text = field.text()
    if text is None:
        return []
    path = Path(text).expanduser()
    if not path.is_absolute():
        path = field.problems.folder / path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        field.error(f"{text} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}")
        return []
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        digest, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*")
        if _DIGEST.fullmatch(digest) is None or _NAME.fullmatch(name) is None:
            field.error(f"{text}:{number}: must be the SHA-256 of a key in 64 hex digits, a space, and a name for it")
            continue
        found.append((name, bytes.fromhex(digest)))
    return found


def _name(value: Any) -> str:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if _NAME.fullmatch(text) is None:
        raise ValueError("must be a short name: at most 64 letters, digits and ._@/+-")
    return text


def _models(value: Any) -> frozenset[str]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(each, str) and each for each in given):
        raise ValueError("must be a list of names that may be asked for (openai/* for all of a backend)")
    for each in given:
        if "*" in each[:-1]:
            raise ValueError(f"a * may only be the last character, not as in {each!r}")
    return frozenset(given)


def _priority(value: Any) -> Priority:
    try:
        return Priority.parse(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


def _instant(value: Any) -> float:
    """A day (to its end) or an instant, UTC where no zone is named; as seconds since 1970."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value) if len(value) > 10 else datetime.date.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"must be a day (2027-01-31) or an instant (2027-01-31T12:00:00Z), not {value!r}"
            ) from None
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, datetime.date):
        after = value + datetime.timedelta(days=1)
        return datetime.datetime(after.year, after.month, after.day, tzinfo=datetime.UTC).timestamp()
    raise ValueError(f"must be a day (2027-01-31) or an instant (2027-01-31T12:00:00Z), not {value!r}")
