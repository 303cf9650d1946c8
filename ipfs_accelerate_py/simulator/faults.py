"""What can go wrong, as data. Each fault is a small dataclass; :class:`Fault` gathers them and is the name to use.

::

    Fault.status(429, retry_after=2)
    Fault.cut(after=40, rst=True)
    Fault.latency(0.5) + Fault.bad_json(at=3)      # both on one request
    Fault.parse("429:retry_after=2"), Fault.parse("latency:seconds=0.5+cut:after=40")

A fault may work at three places, and each has a method: what is said (:meth:`Fault.edit`), the body's pieces before
HTTP framing (:meth:`Fault.payload`), and the bytes on the wire (:meth:`Fault.wire`). Those that need more than a few
lines have theirs in ``stream_faults``, ``wire_faults`` and ``answer_faults``.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .wire import Answer, Request, Service, WireItem

if TYPE_CHECKING:
    from . import answer_faults, stream_faults, wire_faults

__all__ = ["FAULTS", "Combined", "Fault", "FaultHelp", "register"]

_REGISTRY: Final[dict[str, type[Fault]]] = {}


class FaultHelp(typing.NamedTuple):
    """One row of the table of faults: its options with their defaults, as text, and what it does."""

    options: str
    summary: str


#: Every fault by the name it has in text, in the order of the documentation.
FAULTS: Final[dict[str, FaultHelp]] = {}


class Fault:
    """Base of every fault, and the namespace to make them from."""

    if TYPE_CHECKING:
        ok: ClassVar[type[answer_faults.Ok]]
        status: ClassVar[type[answer_faults.Status]]
        context_length_exceeded: ClassVar[type[answer_faults.ContextLengthExceeded]]
        content_policy_violation: ClassVar[type[answer_faults.ContentPolicyViolation]]
        model_not_found: ClassVar[type[answer_faults.ModelNotFound]]
        insufficient_quota: ClassVar[type[answer_faults.InsufficientQuota]]
        html: ClassVar[type[answer_faults.Html]]
        not_object: ClassVar[type[answer_faults.NotObject]]
        error_200: ClassVar[type[answer_faults.Error200]]
        redirect: ClassVar[type[answer_faults.Redirect]]
        big_headers: ClassVar[type[answer_faults.BigHeaders]]
        oversized: ClassVar[type[answer_faults.Oversized]]
        unknown_fields: ClassVar[type[answer_faults.UnknownFields]]
        gzip: ClassVar[type[answer_faults.Gzip]]
        gzip_bomb: ClassVar[type[answer_faults.GzipBomb]]
        latency: ClassVar[type[wire_faults.Latency]]
        reset: ClassVar[type[wire_faults.Reset]]
        close: ClassVar[type[wire_faults.CloseUnanswered]]
        hang: ClassVar[type[wire_faults.Hang]]
        stall: ClassVar[type[wire_faults.Stall]]
        drip: ClassVar[type[wire_faults.Drip]]
        malformed: ClassVar[type[wire_faults.Malformed]]
        endless_chunk: ClassVar[type[wire_faults.EndlessChunk]]
        down: ClassVar[type[wire_faults.GoDown]]
        cut: ClassVar[type[stream_faults.Cut]]
        utf8_cut: ClassVar[type[stream_faults.Utf8Cut]]
        silence: ClassVar[type[stream_faults.Silence]]
        bad_json: ClassVar[type[stream_faults.BadJson]]
        error_event: ClassVar[type[stream_faults.ErrorEvent]]
        no_done: ClassVar[type[stream_faults.NoDone]]
        endless_line: ClassVar[type[stream_faults.EndlessLine]]
        messy: ClassVar[type[stream_faults.Messy]]
        split: ClassVar[type[stream_faults.Split]]

    __slots__ = ()
    #: The fault's name in text.
    word: ClassVar[str] = ""
    #: Whether this is the absence of a fault.
    healthy: ClassVar[bool] = False
    #: The least value of numeric options; of others it is 0.
    least: ClassVar[dict[str, int]] = {"size": 1, "most": 1, "line": 1, "code": 200}

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for numbers that make no sense."""
        for item in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            name, value = item.name, getattr(self, item.name)
            if name == "seed" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            least = self.least.get(name, 0)
            if not (least <= value < math.inf) or (name == "code" and value > 599):
                wanted = "not be negative" if least == 0 else f"be at least {least}"
                wanted = "be a status between 200 and 599" if name == "code" else wanted
                raise ValueError(f"Fault {self.word!r}: {name} must {wanted}; got {value}.")

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        """Say something else, or the same with other events."""
        return answer

    def payload(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        """Change the body's pieces; of a stream, one piece is one event."""
        return items

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        """Change what goes over the wire; the first piece is the head."""
        return items

    def __add__(self, other: Fault) -> Fault:
        if not isinstance(other, Fault):
            return NotImplemented
        mine = self.parts if isinstance(self, Combined) else (self,)
        theirs = other.parts if isinstance(other, Combined) else (other,)
        return Combined(mine + theirs)

    def __str__(self) -> str:
        """The fault as text that :meth:`parse` reads."""
        given = []
        for item in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, item.name)
            if value != item.default:
                given.append(f"{item.name}={_text(value)}")
        return self.word + (":" + ",".join(given) if given else "")

    @staticmethod
    def parse(text: str) -> Fault:
        """A fault from text: ``name``, ``name:option=value,option=value``, a status such as ``503``; many with ``+``.

        Raises ``ValueError`` that lists the valid names or options.
        """
        # A plus parts two faults only before a fault's name, for it may stand in an option too.
        names = "|".join(_REGISTRY)
        parts = [_parse_one(part) for part in re.split(rf"\s*\+\s*(?=(?:{names}|\d\d\d)(?:[:+]|$))", text.strip())]
        return parts[0] if len(parts) == 1 else Combined(tuple(parts))


@dataclass(frozen=True, slots=True)
class Combined(Fault):
    """Several faults on one request; the first is nearest to the answer, the last nearest to the wire."""

    parts: tuple[Fault, ...]

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        for part in self.parts:
            answer = part.edit(answer, request, service)
        return answer

    def payload(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        for part in self.parts:
            items = part.payload(items)
        return items

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        for part in self.parts:
            items = part.wire(items)
        return items

    def __str__(self) -> str:
        return "+".join(str(part) for part in self.parts)


_F = typing.TypeVar("_F", bound=Fault)


def register(kind: type[_F]) -> type[_F]:
    """Make a fault known by its ``word``: ``Fault.<word>``, ``Fault.parse`` and the table ``FAULTS``."""
    _REGISTRY[kind.word] = kind
    defaults = [f"{item.name}={_text(item.default)}" for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    FAULTS[kind.word] = FaultHelp(", ".join(defaults), " ".join((kind.__doc__ or "").split("\n\n")[0].split()))
    setattr(Fault, kind.word, kind)
    return kind


def _parse_one(text: str) -> Fault:
    word, _, rest = text.partition(":")
    word = word.strip().replace("-", "_")
    options: dict[str, Any] = {}
    if word.isdigit():
        word, options["code"] = "status", int(word)
    kind = _REGISTRY.get(word)
    if kind is None:
        raise ValueError(f"Unknown fault {text!r}. Faults: {', '.join(FAULTS)}, or a status such as 503.")
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    hints = typing.get_type_hints(kind)
    for pair in filter(None, (part.strip() for part in rest.split(","))):
        name, given, value = pair.partition("=")
        name = name.strip().replace("-", "_")
        if name not in fields:
            takes = f"It takes: {', '.join(fields)}." if fields else "It takes no options."
            raise ValueError(f"Fault {word!r} has no option {name!r}. {takes}")
        options[name] = _convert(word, name, hints[name], value.strip() if given else "true")
    return kind(**options)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ";".join(f"{name}: {content}" for name, content in value)
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


_KINDS: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _convert(word: str, name: str, hint: Any, value: str) -> Any:
    if typing.get_origin(hint) is tuple:
        pairs = (part.partition(":") for part in value.split(";"))
        return tuple((head.strip(), content.strip()) for head, _, content in pairs)
    kinds = typing.get_args(hint) or (hint,)
    if value.lower() in ("none", "forever") and type(None) in kinds:
        return None
    if bool in kinds and value.lower() in ("true", "yes", "false", "no"):
        return value.lower() in ("true", "yes")
    for kind in (int, float, str):
        if kind in kinds:
            try:
                converted = kind(value)
            except ValueError:
                continue
            if not isinstance(converted, float) or math.isfinite(converted):
                return converted
    wanted = " or ".join(_KINDS[kind] for kind in kinds if kind is not type(None))
    raise ValueError(f"Fault {word!r}: {name} must be {wanted}; got {value!r}.")
