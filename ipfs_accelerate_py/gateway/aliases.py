"""Names with several targets, and who stands in for whom: put together from all places that say something of it."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from ipfs_accelerate_py.gateway.entries import AliasEntry, BackendEntry, ModelEntry
from ipfs_accelerate_py.gateway.litellm import RouterWords
from ipfs_accelerate_py.gateway.model_list import FALLBACKS, Group
from ipfs_accelerate_py.gateway.yaml_source import Field

__all__ = ["put_together"]

#: By kind and name: the names that stand in, with the places where that is written.
_Fallbacks = dict[str, dict[str, list[tuple[str, Field]]]]


def put_together(
    groups: dict[str, Group], whole: tuple[BackendEntry, ...], words: RouterWords
) -> tuple[tuple[ModelEntry, ...], tuple[AliasEntry, ...]]:
    """Names with one target and nothing more to them, and aliases. What is wrong is reported at its place."""
    _other_names(groups, words)
    fallbacks = _fallbacks(groups, words)
    known = set(groups)
    for kind, by_name in fallbacks.items():
        for name, others in by_name.items():
            by_name[name] = _known(kind, name, others, groups, whole)
    reached = {other for by_name in fallbacks.values() for others in by_name.values() for other, _ in others}
    models: list[ModelEntry] = []
    aliases: list[AliasEntry] = []
    for name, group in groups.items():
        named = {
            kind: [other for other, _ in by_name[name]] for kind, by_name in fallbacks.items() if by_name.get(name)
        }
        if not group.targets:
            continue  # reported already
        if len(group.targets) == 1 and not (group.options or group.shadow or named or name in reached):
            models.append(group.targets[0])
        else:
            aliases.append(_alias(group, named, words, listed=name in known))
    return tuple(models), tuple(aliases)


def _alias(group: Group, fallbacks: dict[str, list[str]], words: RouterWords, *, listed: bool) -> AliasEntry:
    targets = group.targets
    if len(group.shares) == len(targets) and not any("weight" in each.options for each in targets):
        targets = [
            dataclasses.replace(each, options={**each.options, "weight": group.shares[index]})
            for index, each in enumerate(targets)
        ]
    options: dict[str, Any] = {**group.options, **fallbacks}
    if any(order is not None for order in group.orders):
        last = float("inf")
        numbers = [last if order is None else order for order in group.orders]
        targets = [targets[index] for index in sorted(range(len(targets)), key=numbers.__getitem__)]
        options.setdefault("strategy", "order")
    elif len(targets) > 1:
        options.setdefault("strategy", words.strategy or ("weighted" if group.litellm else "order"))
    return AliasEntry(group.name, tuple(targets), tuple(group.shadow), options, group.place, listed)


def _other_names(groups: dict[str, Group], words: RouterWords) -> None:
    """LiteLLM's ``model_group_alias``: the targets of one name under another."""
    for name, (other, field) in words.group_aliases.items():
        if name in groups:
            field.error(f"the name {name!r} is in model_list already")
        elif other not in groups:
            field.error(_unknown(other, groups))
        else:
            found = groups[other]
            groups[name] = Group(
                name, found.place, found.field, list(found.targets), list(found.shadow), dict(found.options),
                {kind: list(named) for kind, named in found.fallbacks.items()}, list(found.orders),
                dict(found.shares), found.litellm,
            )  # fmt: skip


def _fallbacks(groups: dict[str, Group], words: RouterWords) -> _Fallbacks:
    found: _Fallbacks = {kind: {} for kind in FALLBACKS}
    for name, field in words.named:
        if name not in groups:
            field.error(_unknown(name, groups))
    for name, group in groups.items():
        for kind in FALLBACKS:
            named = group.fallbacks.get(kind) or words.fallbacks.get(kind, {}).get(name)
            if named:
                found[kind][name] = named
    by_name, last = found["fallbacks"], {name for name, _ in words.default_fallbacks}
    for name in groups:
        if last and name not in by_name and name not in last:
            by_name[name] = words.default_fallbacks
    return found


def _known(
    kind: str, name: str, others: list[tuple[str, Field]], groups: dict[str, Group], whole: tuple[BackendEntry, ...]
) -> list[tuple[str, Field]]:
    """Those that are served; the others are reported. A ``backend/model`` of a whole backend becomes an entry.

    Two names may be each other's: a call asks each target once, whichever way it came to it.
    """
    found = []
    for other, field in others:
        if other not in groups and not _of_whole(other, groups, whole):
            field.error(_unknown(other, groups))
        elif other == name:
            field.error(f"{name!r} cannot stand in for itself")
        else:
            found.append((other, field))
    return found


def _of_whole(name: str, groups: dict[str, Group], whole: tuple[BackendEntry, ...]) -> bool:
    backend, _, model = name.partition("/")
    for entry in whole:
        if entry.backend == backend and model:
            groups[name] = Group(name, entry.place, targets=[ModelEntry(name, model, entry)], orders=[None])
            return True
    return False


def _unknown(name: str, groups: dict[str, Group]) -> str:
    near = difflib.get_close_matches(name, groups, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"the names are: {', '.join(groups) or 'none'}"
    return f"there is no name {name!r} in model_list; {hint}"
