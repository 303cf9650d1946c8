"""What a request says beside what a format has a place for: named where it changes nothing, and refused where it would.

For formats that are put together anew, and so would lose what nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from ipfs_accelerate_py.errors import UnsupportedOperation

__all__ = ["beside", "schema_of", "unread"]


def unread(fields: Mapping[str, Any], read: Container[str]) -> list[str]:
    """Names of the fields that say something and are none of those that are read."""
    return [name for name, value in fields.items() if name not in read and _says(value)]


def _says(value: Any) -> bool:
    return value is not None and value is not False and value != "" and value != [] and value != {}


def beside(part: Mapping[str, Any], where: str, service: str, ignore: Callable[[str], None]) -> None:
    """What stands in a content part beside its content.

    A document's ``context`` is read by the model, and ``citations`` that are asked for change the answer: those are
    refused. Marks for a cache, and the citations of an earlier answer, are left out and named.
    """
    for name in unread(part, ("type", part.get("type") or "text")):
        if name == "context" or (name == "citations" and _asked(part[name])):
            raise UnsupportedOperation(f"{service} has no counterpart of {where}.{name}")
        if name != "citations" or not isinstance(part[name], Mapping):
            ignore(name)


def _asked(citations: Any) -> bool:
    return isinstance(citations, Mapping) and bool(citations.get("enabled"))


def schema_of(wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema of a ``response_format``, for formats that take no more; None where there is none.

    What the format is for is said to the model as well, so it stands in the schema then. Its name is no more than a
    name, and where a schema can be given at all it is kept to.
    """
    inner = wanted.get("json_schema")
    if not isinstance(inner, Mapping):
        return None
    schema = inner.get("schema")
    if not isinstance(schema, dict):
        return None
    about = inner.get("description")
    return {"description": about, **schema} if isinstance(about, str) and about else schema
