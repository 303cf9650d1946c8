"""Handlers as a mapping, and what may be written for a list of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.pending import HandlerResult

if TYPE_CHECKING:
    from ipfs_accelerate_py.endpoints.main import ipfs_accelerate_py

__all__ = ["EndpointHandlers", "Handler", "listed"]

Handler = Callable[..., HandlerResult]


class EndpointHandlers(Mapping[str, Mapping[str, Handler]]):
    """Handlers by model and type, and called with a pair the handler of that pair; what there is no endpoint of is an
    error that names those there are."""

    def __init__(self, owner: ipfs_accelerate_py, model: str | None = None) -> None:
        self._owner = owner
        self._model = model

    def __call__(self, model: str | None = None, endpoint_type: str | None = None) -> Any:
        return self._owner.get_endpoint_handler(model, endpoint_type)

    def __getitem__(self, name: str) -> Any:
        if self._model is None:
            self._owner._check_model(name)
            return EndpointHandlers(self._owner, name)
        return self._owner.get_endpoint_handler(self._model, name)

    def _names(self) -> list[str]:
        listed = self._owner.get_endpoints(self._model)
        return list(dict.fromkeys(info["model" if self._model is None else "type"] for info in listed))

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401  # this is what it suggests

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def listed(models: Any) -> Iterator[tuple[str, str, Any]]:
    """What `init_endpoints` takes, as what `add_endpoint` takes."""
    if isinstance(models, str):
        models = [models]
    if not isinstance(models, Iterable):
        raise ConfigurationError(f"models must be a mapping or a list, not {type(models).__name__}")
    for item in models.items() if isinstance(models, Mapping) else models:
        if isinstance(item, str):
            yield _on_this_machine(item), "local", None
            continue
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise ConfigurationError("each model is a name, or (name, types)")
        model, types, *endpoint = item
        if isinstance(types, str):
            types = {types: endpoint[0] if endpoint else None}
        for kind in types:
            yield model, kind, types[kind] if isinstance(types, Mapping) else None


def _on_this_machine(name: str) -> str:
    from ipfs_accelerate_py.runtimes.models import list_models

    names = [model.name for model in list_models()]
    if name in names:
        return name
    raise ConfigurationError(
        f"where is {name!r} served? Say so: {{{name!r}: 'openai'}}, or another type. "
        f"On this machine are: {', '.join(names) or '(none)'}"
    )
