"""All of it in one program: fallbacks, caches, single flight, budgets, limits, costs, a ledger, an alert and a report.

Simulators stand for three services, so it runs anywhere without a key:

python examples/production.py
"""

from __future__ import annotations

import logging
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from ipfs_accelerate_py import Alias, Router, Target
from ipfs_accelerate_py.errors import BudgetExceeded, LimitExceeded, MissingExtra, RuntimeUnavailable
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

#: US dollars for a million tokens; the prices of your contract. (`track_costs()` alone knows those of 47 providers.)
PRICES = {
    "openai/gpt-4o": {"input": 2.5, "output": 10.0, "cached": 1.25},
    "claude/claude-sonnet-4-5": {"input": 3.0, "output": 15.0},
    "ollama/*": 0,
}


def make_router(openai: str, claude: str, own: str, folder: Path) -> Router:
    """The router of this program. Each line stands by itself: leave out what you do not need."""
    smart = Alias(
        [
            Target("openai", "gpt-4o", base_url=openai, api_key="sk-example"),
            Target("claude", "claude-sonnet-4-5", base_url=claude, api_key="sk-example"),
            Target("ollama", "llama3.2", base_url=own),
        ],
        first_content_timeout=0.5,  # seconds until the next one is asked; 6 suits people who wait
        mid_stream="restart",  # a stream that breaks off goes on elsewhere, or begins anew
    )
    router = Router({"smart": smart}, initial_retry_delay=0.05)

    router.enable_cache(ttl=3600)  # store="redis" shares it between processes
    try:
        router.enable_semantic_cache(similarity_threshold=0.9)
        print("semantic cache:    on")
    except (MissingExtra, RuntimeUnavailable) as error:  # pip install "ipfs-accelerate-py[semantic,local]"
        print(f"semantic cache:    off ({type(error).__name__})")
    router.enable_single_flight()

    router.track_costs(PRICES, package=False)
    router.open_ledger(folder / "calls.sqlite3", keep_days=90)  # or postgresql://...
    router.set_budget(usd=0.0015, per="day", tenant="globex")  # by what a call may cost at most, before it is made
    router.set_limits(requests_per_minute=600, tenant="*")
    router.set_limits(max_concurrent=1, tenant="batch")

    router.add_alert(
        "latency_p95", above=8, for_seconds=120
    )  # to the log; webhook="https://hooks.slack.com/..." as well
    router.add_alert("breaker_open", above=1, for_seconds=0, severity="critical")
    return router


def main() -> None:
    logging.basicConfig(stream=sys.stdout, format="the log:           %(message)s", force=True)
    with ExitStack() as stack:
        openai = stack.enter_context(SimulatorThread("openai", latency=0.05))
        claude = stack.enter_context(SimulatorThread("anthropic"))
        own = stack.enter_context(SimulatorThread("ollama", chunk_interval=0.02))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        router = stack.enter_context(make_router(openai.url, claude.url, own.url, folder))

        def ask(text: str, tenant: str = "acme", max_tokens: int = 100) -> str:
            reply = router.chat("smart", text, tenant=tenant, max_tokens=max_tokens, temperature=0)
            assert reply.cost is not None
            who = f"the cache ({reply.cache})" if reply.cache else f"{reply.backend}/{reply.target_model}"
            return f"{who}, {reply.cost.total:.6f} USD"

        print("asked:            ", ask("Why is the sky blue?"))
        print("asked again:      ", ask("Why is the sky blue?"))

        with ThreadPoolExecutor(8) as threads:
            before = len(openai.requests)
            list(threads.map(lambda _: ask("What is a quokka?"), range(8)))
            print("eight at once:    ", len(openai.requests) - before, "call")

        try:
            for number in range(10):
                ask(f"What is {number} squared?", tenant="globex", max_tokens=50)
        except BudgetExceeded as error:
            print("over its budget:  ", f"call {number + 1}. {error}")

        openai.always(Fault.status(503))
        print("the first is down:", ask("And why is grass green?"))
        claude.always(Fault.stall(seconds=5))
        stream = router.stream("smart", "Tell me a story", tenant="acme")
        print("the next is slow: ", f"{len(stream.collect().text.split())} words of {stream.model}")

        try:
            with router.stream("smart", "A long one", tenant="batch") as held:
                next(held)
                ask("Another one", tenant="batch")
        except LimitExceeded as error:
            print("over its limit:   ", error)

        router.flush_alerts()
        for row in router.usage(by=["tenant", "model"]):
            print(f"  {row.group['tenant']:8} {row.group['model']:18} {row.calls} calls, {row.cost:.6f} USD")
        report = router.report()
        calls, costs, cache = report["calls"], report["costs"], report["enabled"]["exact_cache"]["figures"]
        print("the report:       ", f"{calls['total']} calls, {calls['failed']} refused, {calls['retries']} retries,")
        print("                  ", f"{costs['usd']:.6f} USD spent, {cache['cost_saved']:.6f} USD saved by the cache")
        (folder / "report.html").write_text(router.report("html"))  # or "markdown": the whole of it, for people


if __name__ == "__main__":
    main()
