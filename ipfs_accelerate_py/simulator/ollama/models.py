"""What is said of models: ``tags``, ``show``, ``ps``, ``pull``; and ``embed``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.text import count_tokens, vector
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .answers import lines, thinks
from .checks import body_of, check, check_options, model_of, refuse

__all__ = ["embed", "embed_tokens", "embeddings", "names", "ps", "pull", "show", "tagged", "tags"]

_encode = msgspec.json.Encoder().encode
#: The models listed where none were configured.
_MODELS: Final = ("llama3:latest", "qwen3:latest", "nomic-embed-text:latest")
_MODIFIED: Final = "2026-01-02T03:04:05.678901234Z"
_EMBED: Final[dict[str, Any]] = {
    "model": ("string", str),
    "truncate": ("bool", bool),
    "dimensions": ("int", int),
    "options": ("map[string]interface {}", dict),
}
_PULL: Final[dict[str, Any]] = {"model": ("string", str), "stream": ("bool", bool), "insecure": ("bool", bool)}
#: Where the request sets none (``num_ctx``).
_CONTEXT: Final = 4096
#: A pulled model's layers, in bytes, and in how many steps each comes.
_LAYERS: Final = (4_000_000, 1_000)
_STEPS: Final = 4


def names(settings: Settings, pulled: Iterable[str]) -> list[str]:
    """The models there are, each with its tag."""
    found: list[str] = []
    for name in (*(_MODELS if settings.models is None else settings.models), *sorted(pulled)):
        if tagged(name) not in found:
            found.append(tagged(name))
    return found


def tagged(name: str) -> str:
    """The name with its tag."""
    return name if ":" in name else f"{name}:latest"


def tags(settings: Settings, pulled: Iterable[str]) -> Answer:
    models = [
        {
            "name": name,
            "model": name,
            "modified_at": _MODIFIED,
            "size": sum(_LAYERS),
            "digest": _digest(name),
            "details": _details(name),
        }
        for name in names(settings, pulled)
    ]
    return Answer(body=_encode({"models": models}))


def ps(settings: Settings, used: Iterable[str]) -> Answer:
    models = [
        {
            "name": name,
            "model": name,
            "size": sum(_LAYERS),
            "digest": _digest(name),
            "details": _details(name),
            "expires_at": "2100-01-01T00:00:00Z",
            "size_vram": 0,
            "context_length": _CONTEXT,
        }
        for name in used
    ]
    return Answer(body=_encode({"models": models}))


def show(request: Request, settings: Settings, pulled: set[str]) -> Answer:
    body = body_of(request)
    model = model_of(body, settings, pulled)
    embeds = "embed" in model
    capabilities = ["embedding"] if embeds else ["completion", "tools", *(["thinking"] if thinks(model) else [])]
    return Answer(
        body=_encode(
            {
                "modelfile": f"# made by the simulator\nFROM {model}\n",
                "parameters": "temperature 0.7",
                "template": "{{ .Prompt }}",
                "license": "",
                "details": _details(model),
                "model_info": {
                    "general.architecture": "simulator",
                    "simulator.context_length": _CONTEXT,
                    "simulator.embedding_length": settings.dimensions,
                },
                "capabilities": capabilities,
                "modified_at": _MODIFIED,
            }
        )
    )


def pull(request: Request, pulled: set[str]) -> Answer:
    """Any model can be pulled but those with "missing" in their names, which the registry does not have."""
    body = body_of(request)
    check(body, _PULL, "PullRequest")
    model = body.get("model") or body.get("name")
    if not isinstance(model, str) or not model:
        refuse("model is required")
    if body.get("stream") is False:
        if "missing" in model:
            refuse("pull model manifest: file does not exist", 500)
        pulled.add(model)
        return Answer(body=_encode({"status": "success"}))
    return lines(_pulling(model, pulled))


def _pulling(model: str, pulled: set[str]) -> Iterator[StreamItem]:
    yield _status("pulling manifest")
    if "missing" in model:
        yield Event(_encode({"error": "pull model manifest: file does not exist"}))
        return
    for number, size in enumerate(_LAYERS):
        digest = "sha256:" + _digest(f"{model}/{number}")
        said: dict[str, Any] = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": size}
        yield Event(_encode(said), tokens=1)
        for step in range(1, _STEPS + 1):
            yield Event(_encode({**said, "completed": size * step // _STEPS}), tokens=1)
    for text in ("verifying sha256 digest", "writing manifest", "removing any unused layers"):
        yield _status(text)
    pulled.add(model)
    yield _status("success")


def _status(text: str) -> Event:
    return Event(_encode({"status": text}), tokens=1)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _details(name: str) -> dict[str, Any]:
    family = name.partition(":")[0]
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": "1M",
        "quantization_level": "Q4_0",
    }


# --- vectors -----------------------------------------------------------------------------------------------------


def embed_tokens(body: dict[str, Any]) -> int:
    """Tokens of the inputs."""
    given = body.get("input", body.get("prompt"))
    return sum(count_tokens(text) for text in (given if isinstance(given, list) else [given]) if isinstance(text, str))


def embed(request: Request, settings: Settings, pulled: set[str]) -> Answer:
    body = body_of(request)
    check(body, _EMBED, "EmbedRequest")
    model = model_of(body, settings, pulled)
    options = check_options(body)
    given = body.get("input")
    inputs = given if isinstance(given, list) else [] if given is None else [given]
    if not all(isinstance(text, str) for text in inputs):
        refuse("invalid input type")
    if body.get("truncate") is False:
        room = options.get("num_ctx") or _CONTEXT
        if any(count_tokens(text) > room for text in inputs):
            refuse("the input length exceeds the context length")
    tokens = embed_tokens(body)
    made = {
        "model": model,
        "embeddings": [
            _vector(model, text, body.get("dimensions") or settings.dimensions, settings) for text in inputs
        ],
        "total_duration": 1_000_000 * (tokens + 1),
        "load_duration": 1_000_000,
        "prompt_eval_count": tokens,
    }
    return Answer(body=_encode(made))


def embeddings(request: Request, settings: Settings, pulled: set[str]) -> Answer:
    """The endpoint that ``embed`` took the place of: one text, one vector."""
    body = body_of(request)
    check(body, {**_EMBED, "prompt": ("string", str)}, "EmbeddingRequest")
    model = model_of(body, settings, pulled)
    prompt = body.get("prompt") or ""
    made = _vector(model, prompt, settings.dimensions, settings) if prompt else []
    return Answer(body=_encode({"embedding": made}))


def _vector(model: str, text: str, dimensions: int, settings: Settings) -> list[float]:
    source = model.removesuffix(":latest").encode() + b"\0" + text.encode("utf-8", "surrogatepass")
    return vector(source, dimensions, settings.seed).tolist()
