"""Forms with files (``multipart/form-data``, RFC 7578), read by hand: the simulator shares nothing with its clients."""

from __future__ import annotations

import re
from typing import NamedTuple

from .wire import Problem, Refused, Request

__all__ = ["Form", "form_of"]

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_NAME = re.compile(rb'\bname="((?:[^"\\]|\\.)*)"')
_FILENAME = re.compile(rb'\bfilename="((?:[^"\\]|\\.)*)"')


class Upload(NamedTuple):
    """A file of a form."""

    filename: str
    content_type: str
    data: bytes


class Form(NamedTuple):
    """Fields by name, each with all its values (a name's ``[]`` left out), and files by name."""

    fields: dict[str, list[str]]
    files: dict[str, Upload]

    def last(self, name: str) -> str | None:
        values = self.fields.get(name)
        return values[-1] if values else None


def form_of(request: Request) -> Form:
    """The form a request brought. Raises :class:`Refused` where it brought none, or a broken one."""
    kind = request.headers.get("content-type", "")
    found = _BOUNDARY.search(kind)
    if not kind.lower().startswith("multipart/form-data") or found is None:
        raise _refused("The request's content type must be multipart/form-data, with a boundary.")
    mark = b"--" + found[1].encode("latin-1")
    first, *pieces = request.raw.split(mark)
    if first.strip() or len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise _refused("The form in the request's body is not whole.")
    form = Form({}, {})
    for piece in pieces[:-1]:
        head, blank, data = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not blank or name is None or not data.endswith(b"\r\n"):
            raise _refused("A part of the form in the request's body is not whole.")
        key = name[1].decode("utf-8", "replace").removesuffix("[]")
        file = _FILENAME.search(head)
        if file is None:
            form.fields.setdefault(key, []).append(data[:-2].decode("utf-8", "replace"))
        else:
            types = [line[13:] for line in head.split(b"\r\n") if line[:13].lower() == b"content-type:"]
            of_file = types[0].strip().decode("latin-1") if types else ""
            form.files[key] = Upload(file[1].decode("utf-8", "replace"), of_file, data[:-2])
    return form


def _refused(message: str) -> Refused:
    return Refused(Problem(400, message, "invalid_request_error"))
