"""``ipfs-accelerate simulate``: a provider on this machine that is as slow, limited and broken as it is told to be."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ipfs_accelerate_py.cli.helping import Command, Rows, common_options, option
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.errors import ConfigurationError

if TYPE_CHECKING:
    from ipfs_accelerate_py.simulator import Simulator

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate simulate openai --port 9100", "An OpenAI that answers everything, at once and for nothing"),
    (
        "ipfs-accelerate simulate openai --latency 0.2 --tokens 60 --chunk-interval 0.02",
        "As slow as a real one",
    ),
    (
        "ipfs-accelerate simulate openai --once 429:retry_after=2 --once cut:after=40",
        "The first request is refused, the second breaks off, and then all is well",
    ),
    (
        "ipfs-accelerate simulate openai --fault 503 --fault reset --fault-rate 0.1",
        "One request in ten fails, in one way or the other",
    ),
    (
        "ipfs-accelerate simulate openai --key first=sk-1 --key second=sk-2 --concurrency 5",
        "Two keys are accepted, and each may have five requests under way",
    ),
)


def _fault_sections() -> Sequence[tuple[str, Rows]]:
    from ipfs_accelerate_py.simulator import FAULTS
    from ipfs_accelerate_py.simulator.faults import FaultHelp

    def explained(fault: FaultHelp) -> str:
        summary = fault.summary.replace("``", "")
        return f"{summary} Options: {fault.options}." if fault.options else summary

    rows = [(name, explained(fault)) for name, fault in FAULTS.items()]
    return [("Faults (as in cut, cut:after=40,rst=true and latency:seconds=2+503)", rows)]


@click.command(cls=Command, examples=EXAMPLES, sections=_fault_sections)
@click.argument("service", default="openai")
@option("--host", default="127.0.0.1", metavar="ADDRESS", section="Address", help="Where to listen.")
@option("--port", type=click.IntRange(0, 65535), default=9100, section="Address", help="0 takes a free one.")
@option(
    "--latency",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    section="Answers",
    help="Time until one begins.",
)
@option("--tokens", type=click.IntRange(min=0), default=20, metavar="N", section="Answers", help="Length of one.")
@option(
    "--chunk-interval",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    section="Answers",
    help="Time between two tokens of a stream.",
)
@option("--reply", metavar="TEXT", section="Answers", help="Answer with this text, not with one made up.")
@option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    section="Answers",
    help="Serve this model only; may be repeated.",
)
@option(
    "--dimensions", type=click.IntRange(min=1), default=1536, metavar="N", section="Answers", help="Length of vectors."
)
@option("--seed", type=int, default=0, metavar="N", section="Answers", help="Changes every text and vector.")
@option(
    "--key",
    "keys",
    multiple=True,
    metavar="[NAME=]KEY",
    section="Limits",
    help="Accept this key and those given like it, and no others; else any is accepted, and none. Not for real keys.",
)
@option(
    "--rate-limit", type=click.IntRange(min=1), metavar="N", section="Limits", help="Requests a minute, of each key."
)
@option(
    "--token-limit", type=click.IntRange(min=1), metavar="N", section="Limits", help="Tokens a minute, of each key."
)
@option(
    "--concurrency", type=click.IntRange(min=1), metavar="N", section="Limits", help="Requests at once, of each key."
)
@option(
    "--once",
    multiple=True,
    metavar="FAULT",
    section="Faults",
    help="Play this on one request; repeated, one on each of the first requests. ok is a healthy answer among them.",
)
@option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT",
    section="Faults",
    help="Play this on every request; repeated, all of them together.",
)
@option(
    "--fault-rate",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    section="Faults",
    help="Play one of the --fault on this share of the requests, and not all on every one.",
)
@common_options
@click.pass_obj
def command(
    terminal: Terminal,
    service: str,
    host: str,
    port: int,
    latency: float,
    tokens: int,
    chunk_interval: float,
    reply: str | None,
    models: tuple[str, ...],
    dimensions: int,
    seed: int,
    keys: tuple[str, ...],
    rate_limit: int | None,
    token_limit: int | None,
    concurrency: int | None,
    once: tuple[str, ...],
    faults: tuple[str, ...],
    fault_rate: float | None,
) -> None:
    """Run a simulated provider, with faults, to test against.

    SERVICE is the wire format it speaks.  [default: openai]

    It speaks it over a real socket, until Ctrl-C or SIGTERM. Every answer says of itself that a simulator made it. With
    --json the address is printed as JSON.
    """
    from ipfs_accelerate_py.portal import new_event_loop
    from ipfs_accelerate_py.simulator import serve

    if fault_rate is not None and not faults:
        raise click.UsageError("--fault-rate needs a --fault to play")
    options: dict[str, Any] = {
        "latency": latency,
        "tokens": tokens,
        "chunk_interval": chunk_interval,
        "reply": reply,
        "models": models or None,
        "dimensions": dimensions,
        "seed": seed,
        "api_keys": _keys(keys),
        "requests_per_minute": rate_limit,
        "tokens_per_minute": token_limit,
        "concurrency_per_key": concurrency,
    }
    try:
        serve(
            service,
            host,
            port,
            script=once,
            faults=faults,
            fault_rate=fault_rate,
            announce=lambda simulator: _announce(terminal, simulator),
            loop_factory=new_event_loop,
            **options,
        )
    except ConfigurationError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


def _keys(given: tuple[str, ...]) -> dict[str, str] | None:
    """Keys by name. One without a name is called by its place, because its value is nobody's business in a log."""
    if not given:
        return None
    named: dict[str, str] = {}
    for number, text in enumerate(given, 1):
        name, separator, value = text.partition("=")
        if not separator:
            name, value = f"key{number}", text
        if not name or not value or name in named:
            raise click.UsageError(f"--key {number} must be KEY or NAME=KEY, each name once")
        named[name] = value
    return named


def _announce(terminal: Terminal, simulator: Simulator) -> None:
    """Say where it listens. stdout has the address, for scripts; the rest is for people."""
    url = simulator.url
    name = simulator.service.name
    if terminal.json:
        terminal.write(terminal.dumps({"service": name, "url": url, "port": simulator.port}) + "\n")
        return
    if not sys.stdout.isatty():
        terminal.write(url + "\n")
        return
    terminal.write(
        f"A simulated {name} listens at {url} (Ctrl-C ends it). Try:\n"
        f"  curl {url}/chat/completions -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Hello"}}]}}\'\n'
    )
