"""``ipfs-accelerate bench load``: a backend or a server under load, and how many answers come in time."""

from __future__ import annotations

from typing import Any

import click

from ipfs_accelerate_py.cli.asking import model_option
from ipfs_accelerate_py.cli.helping import Command, common_options, option
from ipfs_accelerate_py.cli.options import free_options
from ipfs_accelerate_py.cli.selection import Connection, connection_options
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    (
        "ipfs-accelerate bench load --url http://127.0.0.1:8000 -m my-model --concurrency 1:64 --out load",
        "1, 2, 4 up to 64 callers, half a minute each; figures as JSON, Markdown, PNG, SVG and a page",
    ),
    (
        "ipfs-accelerate bench load -m groq/llama-3.1-8b-instant --rate 1,2,4 --duration 60 --slo ttft=300ms,total=2s",
        "Poisson arrivals, and the share of answers that came in time",
    ),
    (
        "ipfs-accelerate bench load --url http://127.0.0.1:8000 -m my-model --find-rate 1:200 --slo ttft=300ms",
        "The highest rate at which 99 % of the first tokens still come in time",
    ),
    (
        "ipfs-accelerate bench load --url http://127.0.0.1:8000 --beside http://127.0.0.1:8001 -m my-model --rate 8",
        "Two servers in turns, the same requests at the same instants, and how many times as good one is",
    ),
    (
        "ipfs-accelerate bench load -m local/all-MiniLM-L6-v2 --kind embedding --batch-size 8 --requests 200",
        "Embeddings on this machine, 8 texts in a call",
    ),
)
_TARGET, _ASKED, _WHEN, _MUCH, _GOOD, _FILES = "Target", "Requests", "Arrivals", "How much", "What is good", "Output"


@click.command(cls=Command, name="load", examples=EXAMPLES)
@model_option()
@option("--url", metavar="URL", section=_TARGET, help="A server that speaks OpenAI's format; short for --base-url.")
@option(
    "--beside",
    metavar="URL|BACKEND[/MODEL]",
    section=_TARGET,
    help="A second target, asked in turns with the first one: the same requests at the same instants.",
)
@option(
    "--beside-key-env",
    metavar="NAME",
    section=_TARGET,
    help="Environment variable that holds its key.  [default: the configured one]",
)
@option("--name", metavar="NAME", section=_TARGET, help="What figures call the target.  [default: the backend's name]")
@option("--beside-name", metavar="NAME", section=_TARGET, help="What they call the second one.")
@option(
    "--through-pipeline",
    "through",
    is_flag=True,
    section=_TARGET,
    show_default=False,
    help="Keep this library's queue, retries, breaker and rate limits in front. Without it every call is made once, at "
    "once, whatever came of the ones before: it is the server that is measured.",
)
@option(
    "--kind",
    type=click.Choice(["chat", "completion", "embedding"]),
    default="chat",
    section=_ASKED,
    help="What is asked for.",
)
@option("--stream/--no-stream", default=True, section=_ASKED, help="Whether answers are read as they are written.")
@option(
    "--dataset",
    metavar="FILE",
    section=_ASKED,
    help='JSON lines with "messages", "prompt" or "input", and options of each request; else texts are made up.',
)
@option(
    "--input-tokens",
    default="128",
    metavar="LENGTH",
    section=_ASKED,
    help="Length of a made-up text, about: 256, 128-512 (any of them), 256~64 (normal: mean and deviation).",
)
@option(
    "--output-tokens",
    default="64",
    metavar="LENGTH",
    section=_ASKED,
    help="Tokens of an answer at most (max_tokens), as a length too. Some servers write exactly so many with "
    "--option ignore_eos=true.",
)
@option(
    "--shared-tokens",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    section=_ASKED,
    help="Tokens that all texts begin with, for a server's cache of prompts; else no two begin alike.",
)
@option(
    "--batch-size", type=click.IntRange(min=1), default=1, metavar="N", section=_ASKED, help="Texts to embed a call."
)
@free_options(_ASKED)
@option(
    "--concurrency",
    metavar="LEVELS",
    section=_WHEN,
    help="So many callers who each wait for the answer: 8, or 1,2,4, or 1:64 (doubled), or 8:32:+8.  [default: 8]",
)
@option(
    "--rate",
    metavar="LEVELS",
    section=_WHEN,
    help="Calls a second that arrive whether or not answers come; as many levels as --concurrency has.",
)
@option("--find-rate", metavar="LOW:HIGH", section=_WHEN, help="Search for the highest rate that keeps to --slo.")
@option("--find-concurrency", metavar="LOW:HIGH", section=_WHEN, help="Search for the most callers that keep to --slo.")
@option(
    "--precision",
    type=click.FloatRange(min=0.001, max=1),
    default=0.05,
    metavar="SHARE",
    section=_WHEN,
    help="Of a search: how near the level that fails is to the one that does not.",
)
@option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    section=_WHEN,
    help="At a rate: by chance, or evenly.",
)
@option(
    "--burstiness",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    metavar="FACTOR",
    section=_WHEN,
    help="Of --arrivals poisson: below 1 calls come in bursts, above more evenly (shape of a gamma distribution).",
)
@option(
    "--think",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    section=_WHEN,
    help="Between an answer and the caller's next question, on average.",
)
@option(
    "--ramp",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    section=_WHEN,
    help="Let the load rise for so long before calls count.",
)
@option("--seed", type=int, default=0, metavar="N", section=_WHEN, help="Of arrivals, texts and lengths.")
@option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    section=_MUCH,
    help="Of a step.  [default: 30, or no limit with --requests]",
)
@option("--requests", type=click.IntRange(min=1), metavar="N", section=_MUCH, help="Calls of a step at most.")
@option(
    "--max-in-flight",
    type=click.IntRange(min=1),
    metavar="N",
    section=_MUCH,
    help="Calls under way at once at most; one that is due then waits, and that counts.  [default: 256]",
)
@option(
    "--rounds",
    type=click.IntRange(min=1),
    metavar="N",
    section=_MUCH,
    help="How often each step is made.  [default: 1; 2 with --beside]",
)
@option(
    "--warm-up",
    type=click.IntRange(min=0),
    default=3,
    metavar="N",
    section=_MUCH,
    help="Calls before, that do not count.",
)
@option(
    "--drain",
    type=click.FloatRange(min=0),
    default=30.0,
    metavar="SECONDS",
    section=_MUCH,
    help="That answers have at the end of a step.",
)
@option(
    "--settle", type=click.FloatRange(min=0), default=1.0, metavar="SECONDS", section=_MUCH, help="Between two steps."
)
@option(
    "--slo",
    metavar="LIMITS",
    section=_GOOD,
    help="What an answer keeps to, to be in time: ttft (first token), total, itl (between any two pieces), tpot (a "
    "token, on average), as in ttft=300ms,total=2s,itl=50ms.",
)
@option(
    "--goodput",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.99,
    metavar="SHARE",
    section=_GOOD,
    help="Share of all calls that must be in time.",
)
@option("--out", metavar="PREFIX", section=_FILES, help="Write PREFIX.json, .md, .png, .svg and .html.")
@connection_options(timeout=120.0)
@common_options
@click.pass_context
def command(ctx: click.Context, /, connection: Connection, **given: Any) -> None:
    """Put a backend or a server under load, and show what its answers take.

    Callers who wait (--concurrency) find out what a server can do at most; arrivals that do not (--rate) what its users
    see. Latencies count from when a call was due. With --slo, the share of calls in time is the goodput, and the
    highest level that keeps to it is named. Ctrl-C ends a run early, and keeps what was measured.

    In a pipe a line is a step, its figures separated by tabs; --json gives every figure. A load costs what its calls
    cost: --requests bounds it.
    """
    from ipfs_accelerate_py.cli.loading import run_load

    run_load(ctx, ctx.ensure_object(Terminal), connection, given)
