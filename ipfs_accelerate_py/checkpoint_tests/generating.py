"""A pytest module for a model type: its text from the template, and the file it goes into."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.families.catalog import auto_classes, family_of, gone, known_types, own_auto
from ipfs_accelerate_py.runtimes.families.lent import image_processor_of
from ipfs_accelerate_py.runtimes.models import mapped_models

from .kinds import kind_of

__all__ = [
    "VERSION",
    "Header",
    "Written",
    "check_type",
    "file_name",
    "generate",
    "header_of",
    "make_module",
    "render",
    "variable_of",
]

#: Of the template: raised whenever what it writes changes, so that older modules are found.
VERSION = 2

#: Inputs that a processor makes arrays of.
_SENSED = ("audio", "document", "image", "image_pair", "image_point", "image_question", "image_text", "video")

#: The files that settings of what makes arrays are in, of films too.
_FILES = (
    '("preprocessor_config.json", "processor_config.json")',
    '("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")',
)

_HEADER = re.compile(
    r"^# ipfs-accelerate-tests: type=(?P<type>\S+) template=(?P<version>\d+) sha256=(?P<hash>\w+)\n", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a generated module says of itself.

    Attributes:
        type: the model type.
        version: of the template.
        changed: whether somebody changed the module after it was written.
    """

    type: str
    version: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What came of one type: ``written``, ``updated``, ``unchanged``, or ``kept`` because somebody had changed it."""

    type: str
    path: Path
    outcome: str


def variable_of(model_type: str) -> str:
    """Name of the environment variable that says where the type's checkpoint is."""
    return f"IPFS_ACCELERATE_CHECKPOINT_{_plain(model_type).upper()}"


def file_name(model_type: str) -> str:
    """Name of the type's module."""
    return f"test_{_plain(model_type).lower()}.py"


def _plain(model_type: str) -> str:
    return re.sub(r"\W", "_", model_type)


def check_type(model_type: str) -> None:
    """Refuse what is no model type of the installed Transformers.

    Raises:
        RuntimeUnavailable: Transformers had it and has it no more; the message has what became of it.
        ConfigurationError: there is none of that name; the message has those that are nearly called so.
    """
    if model_type in known_types():
        return
    if (reason := gone(model_type)) is not None:
        raise RuntimeUnavailable(reason)
    near = difflib.get_close_matches(model_type.lower(), known_types(), n=3, cutoff=0.6)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigurationError(f"there is no model type {model_type!r}{meant}")


def make_module(model_type: str, checkpoint: str = "") -> str:
    """The module's text.

    Args:
        model_type: as in ``config.json``.
        checkpoint: folder or name that is tested where the environment names none; that of `mapped_models` without.

    Raises as `check_type`.
    """
    check_type(model_type)
    family = family_of(model_type)
    if family.tasks and not (family.tasks[0] == "image-feature-extraction" and not image_processor_of(model_type)):
        return render(model_type, family.tasks[0], family.auto(), checkpoint)
    return render(model_type, "", own_auto(model_type), checkpoint)


def render(model_type: str, task: str, auto: str, checkpoint: str = "") -> str:
    """The text for a type at a task (none: ``""``), made by that Auto class."""
    values = {
        "type": model_type,
        "task": task,
        "auto": _loads(model_type, auto),
        "variable": variable_of(model_type),
        "file": file_name(model_type),
        "default": _quoted(checkpoint or mapped_models().get(model_type, "")),
    }
    body = Template(_read("network.txt")).substitute(values) if not task else _of_task(model_type, values)
    return _headed(body, model_type)


def _loads(model_type: str, auto: str) -> str:
    """Name of the class that loads the type's folder: AutoBackbone asks the network for a repository of that name."""
    return auto_classes()[auto][model_type][0] if auto == "AutoBackbone" else auto


def _of_task(model_type: str, values: dict[str, str]) -> str:
    kind = kind_of(model_type, values["task"], values["auto"])
    inputs = _section("inputs.txt", kind.inputs)
    if kind.reference:
        parts = [_section("references.txt", kind.reference)]
        if kind.processor:
            parts.insert(0, _section("references.txt", kind.processor))
        if "taken(" in parts[-1]:
            parts.insert(0, _section("references.txt", "taken"))
        reference, agrees = "\n\n\n".join(parts), _read("agrees.txt")
    else:
        reference, agrees = f"# {kind.why}", _read("loads.txt")
    used = inputs + reference
    plain = [name for name in ("inspect", "io", "json") if f"{name}." in used]
    return Template(_read("template.txt")).substitute(
        values,
        imports_plain="".join(f"import {name}\n" for name in plain),
        imports_third="from PIL import Image\n" if "Image." in used else "",
        options=_options(kind.options),
        processor=_FILES[kind.inputs == "video"] if kind.inputs in _SENSED else "()",
        inputs=inputs,
        reference=reference,
        reacts=_read("reacts.txt") if kind.reacts else "",
        pictures=_section("references.txt", "pictures") + "\n" if values["task"] == "image-to-image" else "",
        agrees=agrees.rstrip("\n"),
    )


def _options(options: Mapping[str, Any]) -> str:
    return repr(dict(options)).replace("'", '"')


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@cache
def _read(name: str) -> str:
    return (Path(__file__).parent / "data" / name).read_text(encoding="utf-8")


@cache
def _section(file: str, name: str) -> str:
    """The part of a file under the line ``#: name``."""
    for part in _read(file).split("#: ")[1:]:
        title, _, text = part.partition("\n")
        if title == name:
            return text.strip("\n")
    raise KeyError(name)


def _headed(body: str, model_type: str) -> str:
    """With the line by which it is known again, below the module's docstring."""
    body = body.rstrip("\n") + "\n"
    before, mark, after = body.partition('\n"""\n')
    line = f"# ipfs-accelerate-tests: type={model_type} template={VERSION} sha256={_hash(body)}\n"
    return f"{before}{mark}{line}{after}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def header_of(text: str) -> Header | None:
    """What a module says of itself; None where it was not generated."""
    found = _HEADER.search(text)
    if found is None:
        return None
    body = text[: found.start()] + text[found.end() :]
    return Header(found["type"], int(found["version"]), _hash(body) != found["hash"])


def generate(types: Iterable[str], folder: str | Path, *, checkpoint: str = "", force: bool = False) -> list[Written]:
    """Write the modules of those types.

    Args:
        types: model types; all are looked at before the first is written.
        folder: where; made if it is not there.
        checkpoint: as `make_module` takes it.
        force: overwrite modules that somebody changed, and files of their names that were not generated.

    Raises as `check_type`.
    """
    made = {each: make_module(each, checkpoint) for each in dict.fromkeys(types)}
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    return [_write(each, place / file_name(each), text, force) for each, text in made.items()]


def _write(model_type: str, path: Path, text: str, force: bool) -> Written:
    outcome = "written"
    if path.exists():
        there = path.read_text(encoding="utf-8")
        if there == text:
            return Written(model_type, path, "unchanged")
        header = header_of(there)
        if (header is None or header.changed) and not force:
            return Written(model_type, path, "kept")
        outcome = "updated"
    path.write_text(text, encoding="utf-8")
    return Written(model_type, path, outcome)
