"""Rates and budgets as a configuration writes them: of a key, a tenant, a model, or everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.gateway.checks import number, one_of, share, whole
from ipfs_accelerate_py.gateway.yaml_source import Field, Section
from ipfs_accelerate_py.pipeline.windows import PERIODS

__all__ = ["RATES", "read_rates"]

#: By what they are called here; LiteLLM's names are understood too.
_NAMES: dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = {
    "requests_per_minute": (("requests_per_minute", "rpm", "rpm_limit"), number(0, more=True)),
    "tokens_per_minute": (("tokens_per_minute", "tpm", "tpm_limit"), number(0, more=True)),
    "max_concurrent": (("max_concurrent", "max_parallel_requests"), whole()),
    "wait": (("wait",), number(0)),
}
RATES = tuple(_NAMES)


def read_rates(section: Section) -> dict[str, Any]:
    """``requests_per_minute``, ``tokens_per_minute``, ``max_concurrent``, and ``budget``: one, or a list.

    ``wait`` is how many seconds a call may wait for its turn under one of the first three.
    """
    found: dict[str, Any] = {}
    for name, (written, check) in _NAMES.items():
        field = section.take(*written)
        if field is not None and (value := field.checked(check)) is not None:
            found[name] = value
    field = section.take("budget", "budgets")
    if field is not None and (budgets := _budgets(field)):
        found["budgets"] = budgets
    return found


def _budgets(field: Field) -> tuple[dict[str, Any], ...]:
    """``{usd: 20, per: month}``, or a list of such."""
    found = []
    for item in field.items():
        section = item.section()
        if section is None:
            continue
        made: dict[str, Any] = {"per": "month"}
        for name, check in _BUDGET.items():
            if (value := section.take(name)) is not None and (checked := value.checked(check)) is not None:
                made[name] = checked
        if "usd" not in made and "tokens" not in made:
            item.error("needs usd (US dollars) or tokens, and per")
        section.finish()
        found.append(made)
    return tuple(found)


def _shares(value: Any) -> tuple[float, ...]:
    given = value if isinstance(value, list) else [value]
    return tuple(share(each) for each in given)


_BUDGET: dict[str, Callable[[Any], Any]] = {
    "usd": number(0, more=True),
    "tokens": whole(),
    "per": one_of(*PERIODS),
    "warn_at": _shares,
    "unpriced": one_of("refuse", "allow"),
}
