"""One type's exception from the rules for small configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["WHOLE", "Special"]

#: In ``keep``: nothing of the configuration nor of those inside it is cut.
WHOLE = ("**",)


@dataclass(frozen=True, slots=True)
class Special:
    """One type's exception.

    Attributes:
        why: the reason.
        before: values for the class before anything is cut.
        after: values in place of what the rules made.
        keep: fields that are not cut; ``*`` for none, ``**`` for none of the configurations inside either.
    """

    why: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
