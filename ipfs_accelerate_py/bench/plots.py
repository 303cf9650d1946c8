"""Plots of a session, by matplotlib (the extra ``plots``): PNG for reports, SVG for pages.

Figures are drawn without pyplot, so no window, no global state and no choice of backend is involved: PNG is Agg's, SVG
matplotlib's own. The font is the one that comes with it.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.panels import Panel, panels
from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["inline", "require_matplotlib", "save"]

#: Told apart also by those who do not see all colours (M. Okabe and K. Ito, "Color Universal Design", 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_STYLES = ("-", "--", ":", "-.")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.35,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.fonttype": "none",  # texts stay texts: they can be searched, and read aloud
    "svg.hashsalt": "ipfs-accelerate",  # the same figures make the same file
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
#: Inches of a plot: among others, and by itself in a page, where it may be as narrow as a phone.
_AMONG, _ALONE = (6.4, 3.8), (4.4, 3.0)


def require_matplotlib() -> None:
    """Raise `MissingExtra` where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("plots need 'matplotlib', which is not installed: pip install \"ipfs-accelerate-py[plots]\"")


def save(session: Session, path: str | Path) -> Path:
    """All plots of a session in one file; its ending says whether that is PNG or SVG. Folders are made.

    Raises `ConfigurationError` for another ending, or a session without anything to plot, and `MissingExtra`.
    """
    place = Path(path)
    kind = place.suffix.removeprefix(".").lower()
    if kind not in ("png", "svg"):
        raise ConfigurationError(f"plots are written as .png or .svg, not {place.name}")
    found = panels(session)
    if not found:
        raise ConfigurationError("there is nothing to plot: the session has no figures")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(_drawn(found, kind, columns=1 if len(found) == 1 else 2))
    return place


def inline(session: Session) -> list[tuple[str, str]]:
    """Each plot by itself: its title, and its ``<svg>`` element, to stand in a page. Raises `MissingExtra`."""
    made = []
    for panel in panels(session):
        text = _drawn([panel], "svg", columns=1, titled=False).decode()
        text = text[text.index("<svg") :].rstrip()
        # Several of them stand in one page, where an id may be there once; and the page decides how wide they are.
        text = re.sub(r'<g id="[^"]*"', "<g", text)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        made.append((panel.title, re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)))
    return made


def _drawn(found: Sequence[Panel], kind: str, *, columns: int, titled: bool = True) -> bytes:
    require_matplotlib()
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of the cache that it makes
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = -(-len(found) // columns)
    # Names under bars may be long, and finding room for them takes drawing everything twice.
    fitted = any(panel.bars for panel in found)
    wide, high = _AMONG if titled else _ALONE
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(wide * columns, high * rows), layout="constrained" if fitted else None)
        for place, panel in enumerate(found):
            if fitted:
                axes = figure.add_subplot(rows, columns, place + 1)
            else:
                axes = figure.add_axes(
                    _room(place, rows, columns, _AMONG if titled else _ALONE, 0.34 if titled else 0.12)
                )
            _panel(panel, axes, titled)
        file = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": "ipfs-accelerate-py"}
        figure.savefig(file, format=kind, dpi=110, metadata=metadata)
    return file.getvalue()


def _room(
    place: int, rows: int, columns: int, size: tuple[float, float], above: float
) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of a plot in the whole, as shares of it, with room for its labels around it."""
    left, right, below = 0.72, 0.12, 0.5
    row, column = divmod(place, columns)
    wide, high = size
    return (
        (column * wide + left) / (wide * columns),
        ((rows - 1 - row) * high + below) / (high * rows),
        (wide - left - right) / (wide * columns),
        (high - below - above) / (high * rows),
    )


def _panel(panel: Panel, axes: Axes, titled: bool) -> None:
    if titled:
        axes.set_title(_plain(panel.title), loc="left", fontweight="bold")
    if panel.bars:
        _bars(axes, panel)
    else:
        _lines(axes, panel)
    axes.set_ylabel(_plain(panel.y))
    if panel.floor is not None:
        axes.set_ylim(bottom=panel.floor)
    if panel.ceiling is not None:
        axes.set_ylim(top=panel.ceiling)
    if panel.line is not None:
        axes.axhline(panel.line, color="#666666", linewidth=0.9, linestyle=":")
    if len({each.label for each in panel.series}) > 1:
        axes.legend(loc="best")


def _lines(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import LogLocator

    names = list(dict.fromkeys(each.group for each in panel.series))
    for series in panel.series:
        place = names.index(series.group)
        mark = "" if panel.smooth else _MARKS[place % len(_MARKS)]
        axes.plot(
            series.x,
            series.y,
            color=COLOURS[place % len(COLOURS)],
            linestyle=_STYLES[series.rank % len(_STYLES)],
            marker=mark,
            markersize=4,
            linewidth=1.5,
            label=_plain(series.label),
        )
        if any(low < high for low, high in zip(series.low, series.high, strict=True)):
            axes.fill_between(series.x, series.low, series.high, color=COLOURS[place % len(COLOURS)], alpha=0.15)
    axes.set_xlabel(_plain(panel.x))
    if panel.log_x:
        axes.set_xscale("log")
        ticks = sorted({value for each in panel.series for value in each.x}) if not panel.smooth else []
        if 0 < len(ticks) <= 12:
            axes.set_xticks(ticks, [f"{value:.4g}" for value in ticks])
        else:
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()


def _bars(axes: Axes, panel: Panel) -> None:
    width = 0.8 / max(1, len(panel.series))
    for place, series in enumerate(panel.series):
        at = [x + (place - (len(panel.series) - 1) / 2) * width for x in series.x]
        below = [value - low for value, low in zip(series.y, series.low, strict=True)]
        above = [high - value for value, high in zip(series.y, series.high, strict=True)]
        axes.bar(
            at,
            series.y,
            width * 0.92,
            yerr=[below, above],
            color=COLOURS[place % len(COLOURS)],
            ecolor="#333333",
            capsize=2,
            error_kw={"linewidth": 0.9},
            label=_plain(series.label),
        )
    many = max((len(each) for each in panel.ticks), default=0) > 12 or len(panel.ticks) > 6
    axes.set_xticks(
        range(len(panel.ticks)),
        [_plain(each) for each in panel.ticks],
        rotation=30 if many else 0,
        ha="right" if many else "center",
    )
    axes.grid(visible=False, axis="x")


def _plain(text: str) -> str:
    """A name as it is: matplotlib takes what stands between two $ for mathematics."""
    return text.replace("$", r"\$")
