"""``ipfs-accelerate usage``: what calls came to, from the ledger; and whether the provider says the same."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ipfs_accelerate_py.cli.failures import ExitCode
from ipfs_accelerate_py.cli.helping import Command, Group, common_options, option
from ipfs_accelerate_py.cli.ledgers import find_ledger, ledger_options, money
from ipfs_accelerate_py.cli.terminal import Terminal

if TYPE_CHECKING:
    from ipfs_accelerate_py.ledger import UsageRow
    from ipfs_accelerate_py.ledger.reconcile import Difference, Figures

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])

EXAMPLES = (
    ("ipfs-accelerate usage", "The last 30 days, a line a day"),
    ("ipfs-accelerate usage --by model,tenant --since 7d", "Who used what in a week"),
    ("ipfs-accelerate usage --by day --by tag:project --format csv > usage.csv", "For a spreadsheet"),
    ("ipfs-accelerate usage --by hour --since today --model gpt-4o --json", "One model, today, as JSON"),
    ("ipfs-accelerate usage reconcile --provider openai --since 7d", "Does the provider say the same?"),
)
RECONCILE_EXAMPLES = (
    ("OPENAI_ADMIN_KEY=... ipfs-accelerate usage reconcile --provider openai --since 7d", "With OpenAI's usage API"),
    ("ipfs-accelerate usage reconcile --provider anthropic --export usage.csv", "With a file from its web page"),
)
_FILTERS = ("tenant", "model", "alias", "backend", "key", "caller", "operation", "outcome")
#: Numbers of a row in the order of CSV; a table shows fewer.
_NUMBERS = (
    "calls", "failures", "cancelled", "cache_hits", "input_tokens", "output_tokens", "cached_tokens",
    "cache_write_tokens", "reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "images", "characters",
    "seconds", "saved_tokens", "cost", "unpriced", "saved", "mean", "p50", "p95",
)  # fmt: skip


def _names(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[str]:
    return [name for text in given for name in text.split(",") if name] or ["day"]


def _filters(function: F) -> F:
    for name in reversed(_FILTERS):
        what = {"model": "The model that answered", "alias": "What was asked for", "key": "The provider's key, by name"}
        text = what.get(name, f"The {name}")
        # The name of a key, and never its value: that must not stand on a command line.
        flags = ("--key-name", "key") if name == "key" else (f"--{name}",)
        function = option(*flags, metavar="NAME", section="Which calls", help=f"{text}.")(function)
    return function


@click.group(cls=Group, name="usage", invoke_without_command=True, examples=EXAMPLES)
@option(
    "--by",
    multiple=True,
    callback=_names,
    metavar="NAMES",
    section="Table",
    help="What totals are kept apart by, separated by commas: day, hour, month, model, alias, backend, key, tenant, "
    "caller, operation, outcome, error, cache, tier, priority, tag:NAME.  [default: day]",
)
@option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    section="Table",
    help="CSV and JSON have every number there is.",
)
@ledger_options("30d")
@_filters
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    by: list[str],
    form: str,
    ledger: str | None,
    since: float | None,
    until: float | None,
    **only: str | None,
) -> None:
    """Calls, tokens and US dollars, from the ledger.

    A client's open_ledger(), the gateway's section `ledger`, and --ledger of chat and embed keep one. Answers from
    caches are calls that cost nothing; what they saved is told apart. A model without a known price makes its calls
    "unpriced": they are in no sum of dollars. Latencies are those of calls that succeeded. Days are those of UTC.
    """
    if ctx.invoked_subcommand is not None:
        return
    terminal = ctx.ensure_object(Terminal)
    asked = {name: value for name, value in only.items() if value is not None}
    found = find_ledger(ledger)
    rows = found.totals(by, since=since, until=until, **asked)
    whole = found.totals((), since=since, until=until, **asked)
    if terminal.json or form == "json":
        total = _plain(whole[0]) if whole else {}
        terminal.data({"ledger": found.name, "by": by, "rows": [_plain(row) for row in rows], "total": total})
    elif form == "csv":
        terminal.write(_csv(by, rows))
    elif not rows:
        terminal.note(f"no calls in {found.name}")
    else:
        columns = [
            *by,
            "calls",
            "failed",
            "hits",
            "input",
            "output",
            "cached",
            "USD",
            "unpriced",
            "saved",
            "p50",
            "p95",
        ]
        shown = [_shown([str(value) for value in row.group.values()], row) for row in rows]
        shown += [_shown(["total", *([""] * (len(by) - 1))], row) for row in whole]
        terminal.table(columns, shown)


def _plain(row: UsageRow) -> dict[str, Any]:
    return {**row.group, **{name: getattr(row, name) for name in _NUMBERS}}


def _csv(by: Sequence[str], rows: Sequence[UsageRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*by, *_NUMBERS])
    for row in rows:
        names = ("" if value is None else value for value in row.group.values())
        writer.writerow([*names, *("" if (value := getattr(row, name)) is None else value for name in _NUMBERS)])
    return text.getvalue()


def _shown(names: list[str], row: UsageRow) -> list[str]:
    seconds = ["" if value is None else f"{value:.2f}" for value in (row.p50, row.p95)]
    counts = [row.calls, row.failures, row.cache_hits, row.input_tokens, row.output_tokens, row.cached_tokens]
    return [*names, *map(str, counts), money(row.cost), str(row.unpriced), money(row.saved), *seconds]


# --- the provider's own figures ----------------------------------------------------------------------------------


@command.command(cls=Command, examples=RECONCILE_EXAMPLES)
@option(
    "--provider", type=click.Choice(["openai", "anthropic"]), required=True, section="Provider", help="Whose figures."
)
@option("--export", metavar="FILE", section="Provider", help="A file of figures (CSV or JSON) instead of asking.")
@option("--base-url", metavar="URL", section="Provider", help="Its address.  [default: the provider's own]")
@option(
    "--tolerance", type=click.FloatRange(0, 100), default=1.0, metavar="PERCENT", section="Comparison",
    help="What two figures may be apart.",
)  # fmt: skip
@option(
    "--tolerance-usd", type=click.FloatRange(0), default=0.01, metavar="DOLLARS", section="Comparison",
    help="Money that is no further apart than this is the same.",
)  # fmt: skip
@option("--all", "everything", is_flag=True, section="Comparison", help="Show also where there is no difference.")
@ledger_options("7d")
@common_options
@click.pass_context
def reconcile(
    ctx: click.Context,
    provider: str,
    export: str | None,
    base_url: str | None,
    tolerance: float,
    tolerance_usd: float,
    everything: bool,
    ledger: str | None,
    since: float | None,
    until: float | None,
) -> None:
    """Hold the ledger against the provider's own figures, by day and model.

    The exit code is 1 where they differ. Keys that may read them are an administrator's: OPENAI_ADMIN_KEY or
    ANTHROPIC_ADMIN_KEY, in the environment, .env or ~/.ipfs_api_credentials. A snapshot (gpt-4o-2024-08-06) counts
    as its model (gpt-4o). Providers are some minutes behind; and a stream that a caller left early is billed by the
    provider, while nobody told us its tokens.
    """
    from ipfs_accelerate_py.cli.reconciling import ask_provider
    from ipfs_accelerate_py.ledger import reconcile as books

    terminal = ctx.ensure_object(Terminal)
    start = int((since or 0) // 86400 * 86400)
    end = int(time.time()) + 1 if until is None else int(until)
    if export is not None:
        from ipfs_accelerate_py.cli.files import read_file

        first, last = (datetime.fromtimestamp(at, UTC).date().isoformat() for at in (start, end - 1))
        found = books.read_export(read_file(export), export)
        theirs = {place: figures for place, figures in found.items() if first <= place[0] <= last}
    else:
        theirs = ask_provider(provider, base_url, start, end)
    backend = {"anthropic": "claude"}.get(provider, provider)
    rows = find_ledger(ledger).totals(["day", "model", "operation", "outcome"], since=start, until=end, backend=backend)
    compared = books.compare(books.ours(rows), theirs, tolerance=tolerance / 100, dollars=tolerance_usd)
    apart = [each for each in compared if each.measures]
    if terminal.json:
        terminal.data({"provider": provider, "differences": len(apart), "rows": [_told(each) for each in compared]})
    else:
        shown = compared if everything else apart
        if shown:
            columns = ("day", "model", "", "requests", "input", "output", "USD", "differs in")
            terminal.table(columns, [row for each in shown for row in _pair(each)])
        terminal.note(f"{len(apart)} of {len(compared)} days and models differ by more than {tolerance:g} %")
    if apart:
        ctx.exit(ExitCode.UNEXPECTED)


def _told(each: Difference) -> dict[str, Any]:
    from ipfs_accelerate_py.ledger.reconcile import MEASURES

    sides = {
        name: {measure: getattr(side, measure) for measure in MEASURES}
        for name, side in (("ours", each.ours), ("theirs", each.theirs))
    }
    return {"day": each.day, "model": each.model, **sides, "differs_in": list(each.measures)}


def _pair(each: Difference) -> list[list[str]]:
    def line(whose: str, figures: Figures, end: str) -> list[str]:
        counts = (figures.requests, figures.input_tokens, figures.output_tokens)
        cost = "" if figures.cost is None else money(figures.cost)
        return [each.day, each.model, whose, *("" if value is None else str(value) for value in counts), cost, end]

    return [line("ours", each.ours, ""), line("theirs", each.theirs, ", ".join(each.measures))]
