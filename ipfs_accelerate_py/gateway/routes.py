"""Which path asks for what, in which wire format.

Nearly every request finds its route in a dictionary. Gemini's API has the model in the path, so its paths are cut up.
Three vendors have their list of models at ``/v1/models``; whose client asks is told by the headers that only it sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

from ipfs_accelerate_py.types import Operation

__all__ = ["OPENAI_PREFIXES", "POSTS", "TEI_PREFIX", "Asked", "find", "format_of_list", "format_of_path", "tei_read"]


class Asked(NamedTuple):
    """What a path asks for.

    ``route`` is its name in metrics; ``path`` what was taken from it; ``stream`` is set where it says so.
    """

    format: str
    operation: Operation
    route: str
    path: Mapping[str, str] = {}
    stream: bool | None = None


_OPENAI = {
    "/chat/completions": Operation.CHAT,
    "/completions": Operation.COMPLETION,
    "/responses": Operation.RESPONSE,
    "/embeddings": Operation.EMBED,
    "/rerank": Operation.RERANK,
    "/classify": Operation.CLASSIFY,
    "/moderations": Operation.MODERATE,
    "/images/generations": Operation.IMAGE,
    "/audio/speech": Operation.SPEAK,
    "/audio/transcriptions": Operation.TRANSCRIBE,
    "/audio/translations": Operation.TRANSCRIBE,
}
_OTHERS = {
    "/v1/messages": ("anthropic", Operation.CHAT),
    "/v1/messages/count_tokens": ("anthropic", Operation.COUNT),
    "/api/chat": ("ollama", Operation.CHAT),
    "/api/generate": ("ollama", Operation.COMPLETION),
    "/api/embed": ("ollama", Operation.EMBED),
    "/api/embeddings": ("ollama", Operation.EMBED),
}
#: Where OpenAI's endpoints are; Groq's client puts its own prefix before the version.
OPENAI_PREFIXES = ("/v1", "/openai/v1")

#: By path.
POSTS: dict[str, Asked] = {
    prefix + path: Asked("openai", operation, prefix + path, {"route": prefix + path})
    for prefix in OPENAI_PREFIXES
    for path, operation in _OPENAI.items()
} | {path: Asked(form, operation, path, {"route": path}) for path, (form, operation) in _OTHERS.items()}

_GEMINI = {
    "generateContent": (Operation.CHAT, False),
    "streamGenerateContent": (Operation.CHAT, True),
    "embedContent": (Operation.EMBED, None),
    "batchEmbedContents": (Operation.EMBED, None),
    "countTokens": (Operation.COUNT, None),
}
#: TEI's paths, which name no model, and the prefix of those that do.
_TEI = {
    "embed": Operation.EMBED,
    "similarity": Operation.EMBED,
    "rerank": Operation.RERANK,
    "predict": Operation.CLASSIFY,
    "embed_all": Operation.TASK,
    "embed_sparse": Operation.TASK,
    "tokenize": Operation.TASK,
    "decode": Operation.TASK,
}
TEI_PREFIX = "/tei/"
POSTS |= {f"/{verb}": Asked("tei", operation, f"/{verb}", {"verb": verb}) for verb, operation in _TEI.items()}
#: Any task of a model on this machine; our own.
_TASKS = "/v1/tasks/"
_GEMINI_PREFIXES = ("/v1beta/models/", "/v1/models/", "/v1beta/tunedModels/")


def find(path: str, query: bytes) -> Asked | None:
    """What a POST to this path asks for."""
    found = POSTS.get(path)
    if found is not None:
        return found
    if path.startswith(_TASKS) and (task := path[len(_TASKS) :]) and "/" not in task:
        return Asked("openai", Operation.TASK, _TASKS + "{task}", {"task": task})
    if path.startswith(TEI_PREFIX):
        model, _, verb = path[len(TEI_PREFIX) :].rpartition("/")
        if (operation := _TEI.get(verb)) is None or not model:
            return None
        return Asked("tei", operation, f"{TEI_PREFIX}{{model}}/{verb}", {"verb": verb, "model": model})
    for prefix in _GEMINI_PREFIXES:
        if path.startswith(prefix):
            model, _, verb = path[len(prefix) :].rpartition(":")
            asked = _GEMINI.get(verb)
            if asked is None or not model:
                return None
            taken = {"model": model, "verb": verb}
            if query:
                taken["alt"] = parse_qs(query.decode("latin-1")).get("alt", [""])[0]
            return Asked("gemini", asked[0], f"{prefix}{{model}}:{verb}", taken, asked[1])
    return None


def tei_read(path: str) -> str | None:
    """``info`` or ``health``, where a path is one of TEI's that are read."""
    if path == "/info":
        return "info"
    if path.startswith(TEI_PREFIX):
        model, _, verb = path[len(TEI_PREFIX) :].rpartition("/")
        if model and verb in ("info", "health"):
            return verb
    return None


def format_of_list(path: str, headers: Mapping[bytes, bytes]) -> str:
    """Whose list of models is asked for at this path."""
    if path.startswith("/v1beta/") or b"x-goog-api-key" in headers:
        return "gemini"
    if b"anthropic-version" in headers:
        return "anthropic"
    return "openai"


def format_of_path(path: str) -> str:
    """Whose error shape fits a path that is none of ours, as far as that can be told."""
    if path.startswith("/v1/messages"):
        return "anthropic"
    if path.startswith("/v1beta/"):
        return "gemini"
    if path.startswith(TEI_PREFIX) or path == "/info" or path[1:] in _TEI:
        return "tei"
    return "ollama" if path.startswith("/api/") else "openai"
