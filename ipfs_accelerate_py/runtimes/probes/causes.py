"""Why a cell failed: its class, by which failures are counted, and the innermost error with the line that raised it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ipfs_accelerate_py.errors import MemoryExhausted, MissingExtra

__all__ = ["FAILURES", "cause_of", "classify", "one_line"]

#: Classes of failures.
FAILURES = {
    "missing-package": "a package that it needs is not installed",
    "configuration": "no model could be made of its configuration",
    "input": "the model took none of the forms of input that are known",
    "operator": "the runtime has no such operation",
    "export": "the runtime could not take the model over, for another reason",
    "number-format": "the model mixes number formats, or an operation lacks this one",
    "shape": "two shapes do not fit",
    "not-finite": "an output has NaN or infinity",
    "constant": "the output does not depend on the input",
    "disagrees": "outputs are not those of PyTorch in float32",
    "batch-differs": "an input gets another answer in a batch than alone",
    "out-of-memory": "memory ran out, or the limit of the cell was reached",
    "timeout": "no answer within the time for one cell",
    "crash": "the process ended",
    "error": "anything else",
}

_OPERATOR = re.compile(
    r"no conversion rule|not (?:yet )?(?:supported|implemented)|unsupported|NotImplementedError|"
    r"Cannot (?:convert|create) .*(?:op|aten)|failed to legalize|unimplemented call",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"\b(?:same|unsupported|unexpected|invalid) (?:data ?types?|dtypes?)\b|dtype mismatch|bias type|"
    r"not implemented for '\w*(?:Half|BFloat16|Float)\w*'|scalar type",
    re.IGNORECASE,
)
_SHAPE = re.compile(r"\bshapes?\b|\bdimensions?\b|\bsizes? of tensor|size mismatch|must match", re.IGNORECASE)
_DISAGREES = re.compile(r"is equal to torch's in|cosine|differs? by|has shape .* and torch's|undefined entries")
_LONGEST = 400


def classify(check: str, exc: BaseException) -> str:
    """The class of failure of an error that was raised in the making of ``check`` (a name of `results.CHECKS`)."""
    text = str(exc)
    if any(isinstance(each, MissingExtra | ImportError) for each in _chain(exc)):
        return "missing-package"
    if any(isinstance(each, MemoryError | MemoryExhausted) for each in _chain(exc)) or "can't allocate memory" in text:
        return "out-of-memory"
    if check == "built":
        return "configuration"
    if "forms of input" in text:
        return "input"
    if check == "exported":
        return _of_export(text)
    if check == "agrees":
        return "disagrees"
    kinds = (("number-format", _FORMAT), ("shape", _SHAPE), ("operator", _OPERATOR))
    return next((name for name, words in kinds if words.search(text)), "error")


def _of_export(text: str) -> str:
    """Of an export that failed in every way: what stopped the last of the ways that need no fixed shapes."""
    if _OPERATOR.search(text):
        return "operator"
    if _DISAGREES.search(text):
        return "disagrees"
    return "export"


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def cause_of(exc: BaseException) -> str:
    """The error that all others came of, in one line, with the file (below its package) and line that raised it."""
    innermost = list(_chain(exc))[-1]
    trace = innermost.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{_short(code.co_filename)}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    return one_line(innermost) + (f" [{place}]" if place else "")


def _short(path: str) -> str:
    """A file's name from its package on: where packages are installed is nobody's business."""
    parts = Path(path).parts
    for root in ("site-packages", "dist-packages"):
        if root in parts:
            return "/".join(parts[parts.index(root) + 1 :])
    own = __name__.partition(".")[0]
    return "/".join(parts[parts.index(own) :]) if own in parts else parts[-1] if parts else path


_PATHS = re.compile(
    rf"(?:/[\w.+-]+)+/(?:(?:site-packages|dist-packages|python3\.\d+)/|(?={__name__.partition('.')[0]}/))"
)
_PASSING = re.compile(rf"{re.escape(tempfile.gettempdir())}(?:/[\w.+-]+)+")


def one_line(exc: BaseException) -> str:
    """Class and message of an error, in one line of at most 400 characters, without folders of this machine."""
    message = _PASSING.sub("(a folder for the purpose)", _PATHS.sub("", " ".join(str(exc).split())))
    line = f"{type(exc).__name__}: {message}" if message else type(exc).__name__
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
