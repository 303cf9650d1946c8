"""A session as one HTML file that needs nothing else: figures, plots, machine, versions and the command."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.load import tables
from ipfs_accelerate_py.bench.plots import inline
from ipfs_accelerate_py.bench.tables import tables as kinds

__all__ = ["page", "write_page"]

# No scripts and nothing from elsewhere: the policy says so to the browser too.
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8885; --soft: #8881; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }}
h1 {{ font-size: 1.5rem; line-height: 1.2; margin: .5rem 0; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem; }}
pre, .table {{ overflow-x: auto; }}
pre {{ background: var(--soft); border-radius: .4rem; padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; position: sticky; left: 0; background: Canvas; }}
.text td, .text th {{ text-align: left; }}
thead th {{ vertical-align: bottom; }}
.plots {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }}
figure {{ background: #fff; border: 1px solid var(--line); border-radius: .4rem; color: #000; margin: 0; padding: .5rem; }}
figcaption {{ font-weight: 600; padding: 0 .25rem .25rem; }}
svg {{ display: block; height: auto; width: 100%; }}
.notes li {{ margin: .25rem 0; overflow-wrap: anywhere; }}
dl {{ display: grid; gap: .2rem 1rem; grid-template-columns: max-content 1fr; margin: 0; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
@media (max-width: 40rem) {{ body {{ padding: .75rem; }} dl {{ grid-template-columns: 1fr; }} dt {{ font-weight: 600; }} }}
</style>
</head>
<body>
"""  # noqa: E501  # lines of a style sheet


def write_page(session: Session, path: str | Path) -> Path:
    """Write `page` to a file; folders that are not there are made. Raises `MissingExtra` without matplotlib."""
    place = Path(path)
    text = page(session)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return place


def page(session: Session, title: str = "") -> str:
    """The HTML of a session: loads by step, everything else a row a figure, then what could not be measured."""
    title = title or ("Load" if tables.cases(session) else "Benchmark")
    parts = [_HEAD.format(title=escape(title)), f"<main>\n<h1>{escape(title)}</h1>\n"]
    parts.append(f"<p>{escape(_when(session))}</p>\n<pre>{escape(session.command)}</pre>\n")
    said = [*tables.limits(session), *session.notes]
    if said:
        items = "".join(f"<li>{escape(each)}</li>\n" for each in said)
        parts.append(f'<ul class="notes">\n{items}</ul>\n')
    if plots := inline(session):
        parts.append('<h2>Plots</h2>\n<div class="plots">\n')
        for name, drawn in plots:
            named = drawn.replace("<svg", f'<svg role="img" aria-label="{escape(name)}"', 1)
            parts.append(f"<figure><figcaption>{escape(name)}</figcaption>{named}</figure>\n")
        parts.append("</div>\n")
    parts += _figures(session)
    parts += _about(session)
    parts.append("</main>\n</body>\n</html>\n")
    return "".join(parts)


def _figures(session: Session) -> Iterable[str]:
    if tables.cases(session):
        yield "<h2>Steps</h2>\n"
        yield _table(tables.COLUMNS, tables.rows(session))
        if pairs := tables.comparisons(session):
            yield "<h2>Beside one another</h2>\n"
            yield _table(("load", "figure", "how many times as good"), pairs, kind="text")
    for table in kinds(session):
        if table.title != "load":
            yield f"<h2>{escape(table.title)}</h2>\n"
            yield _table(table.columns, table.rows)
    if session.left:
        yield "<h2>Not measured</h2>\n"
        rows = (
            (each.case.model, each.case.contestant, str(each.case.batch), each.case.length, each.outcome, each.reason)
            for each in session.left
        )
        yield _table(("model", "runtime", "batch", "length", "outcome", "why"), rows, kind="text")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    named = f' class="{kind}"' if kind else ""
    return (
        f'<div class="table" tabindex="0"><table{named}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n'
        "</table></div>\n"
    )


def _about(session: Session) -> Iterable[str]:
    machine = session.machine
    flags = " ".join(machine.get("flags", ()))
    versions = {**session.versions, **machine.get("versions", {})}
    rows = {
        "Machine": f"{machine.get('processor', 'unknown')}, {machine.get('processors', '?')} processors",
        "Instructions": flags,
        "Load average": " before, ".join(f"{each:g}" for each in session.load) + (" after" * (len(session.load) > 1)),
        "Threads": str(session.threads or ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Method": session.method,
        "Session": session.id,
    }
    yield "<h2>How it was measured</h2>\n<dl>\n"
    for name, text in rows.items():
        if text:
            yield f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n"
    yield "</dl>\n"


def _when(session: Session) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(session.started))
