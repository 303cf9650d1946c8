"""The gateway's own headers: what a client may ask for, and what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault

from .aliased import CHAT, STREAM, TWO, aliased
from .support import error_of

PRICED = """
model_list:
  - name: smart
    model: openai/gpt-4o
    base_url: "{0}"
    api_key: k
    price: {input: 1, output: 2}
    settings: {max_retries: 1, initial_retry_delay: 0}
"""


async def test_what_an_answer_says_of_itself() -> None:
    async with aliased(PRICED, "openai") as setup:
        got = await setup.ask()
        usage = got.json["usage"]
        cost = (usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1e6
        assert float(got.headers["x-ipfs-accelerate-cost"]) == pytest.approx(cost, abs=1e-9)
        assert "x-ipfs-accelerate-model" not in got.headers  # who answers is no question here
        assert "x-ipfs-accelerate-attempts" not in got.headers
        assert "x-ipfs-accelerate-cache" not in got.headers
        setup.sims[0].script(Fault.status(500))
        assert (await setup.ask()).headers["x-ipfs-accelerate-attempts"] == "2"
        stream = await setup.ask(STREAM)
        assert "x-ipfs-accelerate-cost" not in stream.headers  # nobody knows it yet


async def test_who_answered_for_an_alias() -> None:
    async with aliased(TWO) as setup:
        setup.sims[0].script(Fault.status(500))
        for attempts, model in (("2", "gpt-4o-mini"), ("1", "gpt-4o")):
            got = await setup.ask(STREAM)
            told = {name.removeprefix("x-ipfs-accelerate-"): value for name, value in got.headers.items()}
            assert (told["model"], told["backend"], told["attempts"]) == (model, "openai", attempts)


async def test_tags_and_sessions_go_along() -> None:
    seen: list[Any] = []
    async with aliased(TWO) as setup:
        setup.app.front.usage_policy.observers.append(seen.append)
        await setup.ask(x_tags="team=search, run = 42,empty=", x_session="s-1")
        assert seen[0].tags == {"team": "search", "run": "42", "empty": ""}


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_a_client_s_own_deadline(body: dict[str, Any]) -> None:
    async with aliased(PRICED, "openai") as setup:
        setup.sims[0].always(Fault.hang())
        got = await setup.ask(body, x_timeout="0.1")
        assert (got.status, error_of(got)["code"]) == (504, "read_timeout")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x_timeout", "soon"), ("x_timeout", "0"), ("x_timeout", "-1"), ("x_timeout", "inf"),
        ("x_session", "x" * 200), ("x_tags", "team"), ("x_tags", ",".join(f"t{n}=1" for n in range(20))),
        ("x_priority", "URGENT"),
    ],
)  # fmt: skip
async def test_wrong_headers_are_named(header: str, value: str) -> None:
    async with aliased(TWO) as setup:
        got = await setup.ask(**{header: value})
        assert got.status == 400
        assert error_of(got)["param"] == header.replace("_", "-")
        assert setup.counts() == [0, 0]


async def test_headers_of_the_vendor_s_format_go_to_targets_of_that_format_alone() -> None:
    text = """
    model_list:
      - name: smart
        targets:
          - {model: claude/a, base_url: "{0}", api_key: k, settings: {{quick}}}
          - {model: openai/b, base_url: "{1}", api_key: k, settings: {{quick}}}
    """
    body = {"model": "smart", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    async with aliased(text, "anthropic", "openai") as setup:
        setup.sims[0].script(Fault.status(529))
        assert (await setup.ask(body, "/v1/messages", anthropic_beta="tools-2025")).status == 200
        assert setup.sims[0].requests[-1].headers["anthropic-beta"] == "tools-2025"
        assert "anthropic-beta" not in setup.sims[1].requests[-1].headers
