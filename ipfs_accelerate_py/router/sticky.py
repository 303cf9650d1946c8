"""Sessions that stay with one target, so that what it has cached of a conversation is of use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from ipfs_accelerate_py.router.routed import Routed

__all__ = ["Sessions"]


class Sessions:
    """Rendezvous hashing by weight: every router of the same configuration finds the same target without remembering.

    Each target draws a number from its own name and the session's; the highest wins. A target that goes takes only its
    own sessions along. What is remembered are the sessions that had to leave their target while it was unwell: they
    stay where they went, the latest ``most`` of them.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._moved: dict[str, str] = {}

    def order(self, session: str, targets: Sequence[Routed]) -> list[Routed]:
        """The targets that can be asked now, the session's own first."""
        ordered = sorted(targets, key=lambda each: -score(session, each.name, each.target.weight))
        moved = self._moved.get(session)
        if moved is not None:
            for place, each in enumerate(ordered):
                if each.name == moved:
                    ordered.insert(0, ordered.pop(place))
                    break
        return ordered

    def home(self, session: str, targets: Sequence[Routed]) -> Routed:
        """The target that hashing says."""
        return max(targets, key=lambda each: score(session, each.name, each.target.weight))

    def answered(self, session: str, target: Routed, first: Routed) -> None:
        """``target`` has answered where ``first`` is the one that hashing says (of all, the unwell too)."""
        if target is first:
            self._moved.pop(session, None)
            return
        self._moved.pop(session, None)  # the latest last
        self._moved[session] = target.name
        if len(self._moved) > self._most:
            del self._moved[next(iter(self._moved))]

    def __len__(self) -> int:
        return len(self._moved)


def score(session: str, name: str, weight: float) -> float:
    """A number that the session and the name determine, higher the more weight there is."""
    digest = blake2b(f"{session}\0{name}".encode(), digest_size=6).digest()
    drawn = (int.from_bytes(digest, "big") + 0.5) / 2.0**48
    return weight / -math.log(drawn) if weight > 0 else 0.0
