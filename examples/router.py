"""A router over three services, of which one is down, one is slow, and one answers; simulators stand for them.

python examples/router.py
"""

from __future__ import annotations

from ipfs_accelerate_py import Alias, Router, Target
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.simulator import Fault, SimulatorThread


def main() -> None:
    with SimulatorThread("openai") as openai, SimulatorThread("anthropic") as claude, SimulatorThread("ollama") as own:
        targets = [
            Target("openai", "gpt-4o", base_url=openai.url, api_key="sk-example"),
            Target("claude", "claude-sonnet-4-5", base_url=claude.url, api_key="sk-example"),
            Target("ollama", "llama3.2", base_url=own.url),
        ]
        with Router({"smart": targets}, first_content_timeout=0.3, initial_retry_delay=0.05) as router:
            reply = router.chat("smart", "Hello")
            print(f"all is well:        {reply.backend}/{reply.target_model}, {reply.attempts} attempt")

            openai.always(Fault.status(503))
            reply = router.chat("smart", "Hello")
            print(f"the first is down:  {reply.backend}/{reply.target_model}, {reply.attempts} attempts")

            claude.always(Fault.stall(seconds=5))
            stream = router.stream("smart", "Hello")
            text = "".join(chunk.text for chunk in stream)
            print(f"the second is slow: {stream.model}, {len(text.split())} words")

            own.always(Fault.status(429))
            try:
                router.chat("smart", "Hello", timeout=2, first_content_timeout=0.3)
            except AccelerateError as error:
                print(f"nobody answers:     {type(error).__name__}; then {', '.join(error.fallbacks)}")

            for name, state in router.snapshot()["targets"].items():
                print(f"  {name:28} {state['circuit']['state']:9} asked {state['asked']}, failed {state['failed']}")

        for each in (openai, claude, own):
            each.clear()
        by_weight = Router({"mixed": Alias([targets[0], targets[1]], strategy="weighted", sticky=True)})
        with by_weight:
            asked = [by_weight.chat("mixed", "Hello").backend for _ in range(4)]
            print(f"by weight:          {' '.join(asked)}")
            asked = [by_weight.chat("mixed", "Hello", session="user-17").backend for _ in range(4)]
            print(f"in one session:     {len(set(asked))} target")


if __name__ == "__main__":
    main()
