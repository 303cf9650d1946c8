"""Which model types have no module yet, and whose are of an older template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipfs_accelerate_py.runtimes.families.catalog import known_types

from .generating import VERSION, check_type, file_name, header_of

__all__ = ["MISSING", "OUTDATED", "Missing", "list_missing"]

MISSING, OUTDATED = "missing", "outdated"


@dataclass(frozen=True, slots=True)
class Missing:
    """A type that has no current module.

    Attributes:
        type: the model type.
        state: ``missing``, or ``outdated``: made from an older template.
        changed: whether somebody changed the outdated module, so that it stays unless forced.
    """

    type: str
    state: str
    changed: bool = False


def list_missing(folder: str | Path, types: Sequence[str] = ()) -> list[Missing]:
    """Types without a current module in the folder (which need not be there), in alphabetical order.

    Args:
        types: only these; every type of the installed Transformers without.

    Raises as `check_type`.
    """
    for each in types:
        check_type(each)
    found = []
    for each in sorted(types) if types else known_types():
        path = Path(folder) / file_name(each)
        if not path.is_file():
            found.append(Missing(each, MISSING))
            continue
        header = header_of(path.read_text(encoding="utf-8"))
        if header is not None and header.version < VERSION:
            found.append(Missing(each, OUTDATED, header.changed))
    return found
