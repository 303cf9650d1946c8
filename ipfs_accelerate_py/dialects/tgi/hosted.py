"""Where things are: on a TGI or TEI server of one's own, or behind Hugging Face's router.

A server of one's own has one model and its endpoints at its root. The router (``https://router.huggingface.co``) has
many: chat at ``/v1/chat/completions`` with the model in the body, everything else in the model's own folder. Source:
Hugging Face's documentation of Inference Providers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation

__all__ = ["check_model", "is_hosted", "model_path", "server_root"]

#: What people write behind a server's address, since other clients want it there.
_ENDINGS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/generate_stream",
    "/generate",
    "/embed",
    "/v1",
)
_PROVIDER = "hf-inference"


def is_hosted(base_url: str, options: Mapping[str, Any]) -> bool:
    """Whether this is the router: the option ``hosted`` says so, or else the host's name."""
    said = options.get("hosted")
    if isinstance(said, str):
        said = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(said.lower(), said)
    if said is None:
        from urllib.parse import urlsplit

        return urlsplit(base_url).hostname == "router.huggingface.co"
    if not isinstance(said, bool):
        raise ConfigurationError(f"hosted must be True, False, or None (told from the URL), not {said!r}")
    return said


def server_root(url: str) -> str:
    """The root of a server or of the router, of a URL that may name one of its endpoints."""
    url = url.strip().rstrip("/")
    for ending in _ENDINGS:
        if url.endswith(ending):
            return url.removesuffix(ending)
    return url


def check_model(model: str) -> None:
    """Raises `ConfigurationError` for what is no name of a model."""
    if not model:
        raise ConfigurationError("Hugging Face's router serves many models: name the one that is asked")
    if any(part in ("", ".", "..") for part in model.partition(":")[0].split("/")):
        raise ConfigurationError(f"{model!r} is no name of a model; it looks like 'owner/name'")


def model_path(model: str, task: str = "") -> str:
    """The path of a model behind the router, and of one of its tasks.

    A model may be named with its provider (``name:hf-inference``); the others serve chat alone.
    """
    from urllib.parse import quote

    check_model(model)
    name, _, provider = model.partition(":")
    if provider not in ("", _PROVIDER):
        raise UnsupportedOperation(
            f"behind Hugging Face's router the provider {provider!r} serves chat alone; name the model without it"
        )
    path = f"/{_PROVIDER}/models/{quote(name)}"
    return f"{path}/pipeline/{task}" if task else path
