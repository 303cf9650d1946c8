"""Plots and the page: what is drawn, and that a browser shows it without a complaint."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ipfs_accelerate_py.bench.figures import HIGHER, LOWER, Case, Left, Session
from ipfs_accelerate_py.bench.page import page
from ipfs_accelerate_py.bench.panels import panels
from ipfs_accelerate_py.bench.plots import inline, save
from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from tests.bench.load_sessions import load_session
from tests.matrix.chromium import Page, browser, find_chromium

SVG = "{http://www.w3.org/2000/svg}"


def local_session(models: int = 3) -> Session:
    session = Session("ipfs-accelerate bench --models all", threads=2, machine={"processor": "a processor"})
    for model in range(models):
        for runtime in ("torch", "openvino"):
            case = Case("text-generation", f"model-{model}", runtime, "float32", "cpu", 8)
            speed = session.measurement(case, "output", "tokens/s", HIGHER, "t")
            first = session.measurement(case, "first token", "ms", LOWER, "t")
            for number in (1, 2, 3):
                speed.add(number, 10.0 * (model + 1) * (2 if runtime == "openvino" else 1) + number)
                first.add(number, 100.0 - number)
    session.left.append(Left(Case("text-generation", "model-9", "llvm"), "skipped", "no <shape> of its kind"))
    return session


def test_what_is_drawn_of_a_load() -> None:
    found = {panel.title: panel for panel in panels(load_session())}
    assert list(found) == [
        "Time to first token", "Latency", "Between tokens", "Answered", "Output", "Goodput: calls in time",
        "Distribution of the latency",
    ]  # fmt: skip
    first = found["Time to first token"]
    assert [series.label for series in first.series] == [
        "llvm A p50", "llvm A p95", "llvm A p99", "llvm B p50", "llvm B p95", "llvm B p99",
    ]  # fmt: skip
    assert first.series[0].x == [2, 4, 8]
    assert first.series[0].y == pytest.approx([60, 120, 240], rel=0.03)
    assert first.series[3].y == pytest.approx([120, 240, 480], rel=0.03)
    assert all(
        low <= value <= high
        for each in first.series
        for low, value, high in zip(each.low, each.y, each.high, strict=True)
    )
    goodput = found["Goodput: calls in time"]
    assert goodput.line == pytest.approx(99)
    assert goodput.series[0].y[0] == pytest.approx(99)
    assert goodput.series[1].y[-1] == pytest.approx(0)
    curves = found["Distribution of the latency"].series
    assert len(curves) == 2 * 3
    assert all(each.x == sorted(each.x) and each.y[-1] == 100 for each in curves)


def test_what_is_drawn_of_models_on_this_machine() -> None:
    found = panels(local_session())
    assert [(panel.title, panel.y) for panel in found] == [
        ("text-generation: output", "tokens/s"), ("text-generation: first token", "ms"),
    ]  # fmt: skip
    assert found[0].ticks == ["model-0 x8", "model-1 x8", "model-2 x8"]
    assert [series.label for series in found[0].series] == ["torch float32 cpu", "openvino float32 cpu"]
    assert found[0].series[1].y == pytest.approx([22, 42, 62])
    assert len(panels(local_session(40))) == 6  # no panel has more groups than can be read


def test_png_and_svg_are_written(tmp_path: Path) -> None:
    session = local_session()
    assert save(session, tmp_path / "new" / "local.png").read_bytes().startswith(b"\x89PNG")
    svg = save(session, tmp_path / "new" / "local.svg")
    root = ElementTree.fromstring(svg.read_text())
    texts = " ".join(each.text or "" for each in root.iter(f"{SVG}text"))
    assert "text-generation: output" in texts
    assert "model-1" in texts
    before = svg.read_bytes()
    assert save(session, svg).read_bytes() == before  # the same figures are the same file
    with pytest.raises(ConfigurationError, match=r"\.png or \.svg"):
        save(session, tmp_path / "load.pdf")
    with pytest.raises(ConfigurationError, match="nothing to plot"):
        save(Session("nothing"), tmp_path / "load.png")


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"ipfs-accelerate-py\[plots\]"):
        save(load_session(), tmp_path / "load.png")


def test_drawing_changes_no_settings(tmp_path: Path) -> None:
    import matplotlib as mpl

    def found() -> list[object]:
        return [mpl.rcParams["font.size"], mpl.rcParams["svg.fonttype"], mpl.rcParams["axes.grid"]]

    before = found()
    save(local_session(1), tmp_path / "local.png")
    assert found() == before


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


@pytest.fixture(scope="module")
def html() -> str:
    return page(load_session())


def test_the_page_has_everything_and_asks_for_nothing(html: str) -> None:
    parser = _Tags()
    parser.feed(html)
    assert parser.tags.count("svg") == 7
    assert "script" not in parser.tags
    for said in ("bench load --rate 2,4,8", "a processor", "llvm A", "8/s", "2.00 x", "keep to ttft=250ms", "Wilks"):
        assert said in html, said
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)  # nothing from elsewhere


def test_names_are_text_and_never_markup() -> None:
    session = local_session()
    session.notes.append("<script>alert(1)</script>")
    text = page(session)
    assert "<script>" not in text
    assert "no &lt;shape&gt; of its kind" in text
    dollars = Session("x")
    case = Case("audio", "a$_b$<i>", "torch")
    dollars.measurement(case, "real-time factor", "x", HIGHER).add(1, 2.0)
    ((_, drawn),) = inline(dollars)
    assert "a$_b$&lt;i&gt;" in drawn


@pytest.fixture(scope="module")
def chromium() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium here (tools/chromium.sh fetches one)")
    return found


def test_a_browser_shows_the_page(chromium: str, html: str, tmp_path: Path) -> None:
    """On a desk and on a phone: plots are seen, nothing is complained of, and nothing is wider than the screen."""
    path = tmp_path / "load.html"
    path.write_text(html, encoding="utf-8")
    address = path.as_uri()
    with browser(chromium) as pipe:
        for width, phone in ((1280, False), (390, True)):
            shown = Page(pipe, address, width, 844, phone=phone)
            assert shown.complaints == []
            assert [each for each in shown.requests if not each.startswith(("file:", "data:"))] == []
            sizes = shown.run("[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().width)")
            assert len(sizes) == 7
            assert all(200 < each <= width for each in sizes)
            heights = shown.run("[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().height)")
            assert all(100 < each < 700 for each in heights)
            assert shown.run("document.documentElement.scrollWidth") <= width
            table = "document.querySelector('.table')"
            assert shown.run(f"{table}.getBoundingClientRect().right") <= width
            assert shown.run("document.querySelectorAll('tbody tr').length") > 6
