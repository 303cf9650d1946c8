"""One thing more than a plain request, for everything that the vendors' own request types have, by the ingress.

Texts that must reach the upstream as they are hold the mark `zq`.
"""

from __future__ import annotations

from tests.conformance.things import anthropic, gemini, ollama, openai, responses
from tests.conformance.things.base import Thing

__all__ = ["THINGS", "Thing"]

THINGS: dict[str, list[Thing]] = {
    "openai": list(openai.things()),
    "responses": list(responses.things()),
    "anthropic": list(anthropic.things()),
    "gemini": list(gemini.things()),
    "ollama": list(ollama.chats()),
    "ollama generate": list(ollama.prompts()),
}
