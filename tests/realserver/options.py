"""Options of a request that make `transformers serve` do what a test needs to see."""

from __future__ import annotations

import json
from typing import Any

#: The generation fails after the request was accepted: this server wants a bias to be a fraction, and says so too late.
#: Unary that is a 500 with a bare text, streaming a 200 with the event ``{"error": "text"}``.
FAILS_LATE: dict[str, Any] = {"logit_bias": {"5": 1}}

#: The same, but the server's text has a double quote in it, which it does not escape: its last event is not JSON.
FAILS_LATE_AND_UNREADABLY: dict[str, Any] = {"logit_bias": {"5": "it's"}}


def endless(tokens: int) -> dict[str, Any]:
    """An answer of exactly ``tokens`` tokens, by an option that OpenAI does not have."""
    # Token 2 is `<|im_end|>`, the end of an answer, which `min_new_tokens` forbids until then.
    rules = {"min_new_tokens": tokens, "max_new_tokens": tokens, "eos_token_id": 2, "do_sample": False}
    return {"generation_config": json.dumps(rules)}
