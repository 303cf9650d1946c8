"""The page of a run, in a real browser: what a reader does with it, on a desk and on a phone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.matrix.page import page, page_data
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.runtimes.probes.results import Cell, Result
from tests.matrix.chromium import Page, browser, contrast, find_chromium
from tests.matrix.support import MACHINE, failed, kept, measured, skipped

CHROMIUM = find_chromium()
#: Types of the page that most tests look at, and of one of the size of the real one.
TYPES, MANY = 120, 650
HOSTILE = "</script><script>document.title = 'taken'</script><!-- &amp; \u2028"
COLUMNS = (("torch", "float32"), ("torch", "bfloat16"), ("openvino", "float32"), ("openvino", "int8-weights"))


def results(seed: int, types: int = TYPES) -> list[Result]:
    """Of many types on four runtimes; a few fail, some are skipped, some were not tried."""
    chance = random.Random(seed)
    found = []
    for number in range(types):
        latency = 0.5 + number / 100
        for at, where in enumerate(COLUMNS):
            cell = Cell(f"type-{number:03}", *where)
            if number % 50 == 7 and at >= 2:
                found.append(failed(cell, "exported", "operator", f"no rule for aten::op_{number}"))
            elif number == 100:
                found.append(skipped(cell, "it has no class"))
            elif number == 101:
                found.append(Result(cell))
            else:
                found.append(measured(cell, latency / (at + 1) * chance.uniform(0.999, 1.001)))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("page") / "matrix.sqlite") as made:
        few = [each for each in results(1) if each.cell.subject in ("type-003", "type-007")]
        kept(made, few, label="elsewhere", machine={**MACHINE, "processors": 64})
        kept(made, few, label="before")
        own = replace(measured(Cell("own/checkpoint"), 1.0), model_type="bert")
        hostile = failed(Cell("zz-hostile"), "ran", "error", HOSTILE, HOSTILE)
        kept(made, [*results(2), own, hostile], label="<now>")
        yield made


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of all types there are."""
    folder = tmp_path_factory.mktemp("many")
    with Store(folder / "matrix.sqlite") as made:
        return written(made, kept(made, results(3, MANY)), folder)


def written(store: Store, run: Run, folder: Path) -> str:
    path = folder / "matrix.html"
    path.write_text(page(store, run), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def address(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(store, store.run(), tmp_path_factory.mktemp("html"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: tools/chromium.sh fetches one")
    with browser(CHROMIUM) as opened:
        yield opened


@pytest.fixture
def desk(chromium: Any, address: str) -> Iterator[Page]:
    shown = Page(chromium, address)
    yield shown
    assert shown.complaints == []
    assert shown.requests == [address]
    shown.close()


@pytest.fixture
def phone(chromium: Any, address: str) -> Iterator[Page]:
    shown = Page(chromium, address, 360, 740, phone=True)
    yield shown
    assert shown.complaints == []
    shown.close()


NAMES = "[...document.querySelectorAll('#matrix tbody tr:not(.detail) th button')].map(e => e.firstChild.textContent)"


def names(shown: Page) -> list[str]:
    """Of all rows, when those that follow have been drawn."""
    found: list[str] = shown.run(f"new Promise(done => setTimeout(() => done({NAMES}), 50))")
    return found


def text(shown: Page, selector: str) -> str:
    return str(shown.run(f"document.querySelector({json.dumps(selector)}).innerText"))


def test_every_type_is_there_with_counts_machine_and_versions(desk: Page) -> None:
    assert len(names(desk)) == TYPES + 2
    assert text(desk, "#count") == "122 of 122"
    cards = desk.run("[...document.querySelectorAll('#summary article')].map(e => e.innerText)")
    assert len(cards) == len(COLUMNS)
    assert "119 ok · 1 failed · 1 skipped · 1 untested" in cards[0]
    assert "115 ok · 3 failed · 1 skipped · 1 untested" in cards[2]
    desk.click("#versions summary")
    assert "A Processor 9000" in text(desk, "#machine")
    assert "2.13.0" in text(desk, "#versions dl")
    assert text(desk, "#gone summary").endswith("types that are gone")


def test_searching_finds_names_and_reasons(desk: Page) -> None:
    desk.type("#search", "type-11")
    assert names(desk) == [f"type-{number}" for number in range(110, 120)]
    desk.type("#search", "aten::op_57")
    assert names(desk) == ["type-057"]
    desk.type("#search", "nothing is called so")
    assert names(desk) == []
    desk.click("#reset")
    assert len(names(desk)) == TYPES + 2


def test_filters_by_outcome_runtime_and_failure_go_together(desk: Page) -> None:
    desk.choose("#outcome", "skipped")
    assert names(desk) == ["type-100"]
    desk.choose("#outcome", "failed")
    assert len(names(desk)) == 4
    desk.choose("#failure", "operator")
    assert len(names(desk)) == 3
    desk.choose("#runtime", "torch")
    assert names(desk) == []  # it is OpenVINO that has no such operations
    desk.choose("#failure", "")
    assert names(desk) == ["zz-hostile"]
    heads = desk.run("[...document.querySelectorAll('thead th')].map(e => e.innerText)")
    assert heads == ["Type", "torch float32", "torch bfloat16", "Fastest that agrees"]


def test_a_click_on_a_heading_sorts_and_another_turns_round(desk: Page) -> None:
    assert names(desk)[:2] == ["own/checkpoint", "type-000"]
    column = "thead th:nth-child(2)"
    desk.click(f"{column} button")
    first = names(desk)
    assert first[0] == "type-000"
    assert set(first[-3:]) == {"type-100", "type-101", "zz-hostile"}  # what has no latency comes last
    assert desk.run(f"document.querySelector('{column}').getAttribute('aria-sort')") == "ascending"
    desk.click(f"{column} button")
    second = names(desk)
    assert second[0] == "type-119"
    assert set(second[-3:]) == {"type-100", "type-101", "zz-hostile"}
    desk.choose("#show", "speedup")
    desk.click("thead th:nth-child(5) button")
    values = desk.run(
        "[...document.querySelectorAll('tbody td:nth-child(5)')].slice(0, 110).map(e => parseFloat(e.innerText))"
    )
    assert values == sorted(values)
    assert 3.9 < values[0] < 4.1
    for shown, unit in (("memory", "MB"), ("throughput", "/s"), ("cosine", "0.9999"), ("outcome", "ok")):
        desk.choose("#show", shown)
        desk.click("thead th.name button")
        assert unit in text(desk, "tbody tr:nth-child(5) td:nth-child(5)")


def test_a_row_opens_with_all_that_was_found(desk: Page) -> None:
    desk.type("#search", "type-007")
    desk.click("tbody tr .open")
    found = text(desk, "tr.detail")
    assert "type-007 on this machine: torch bfloat16, 2.0x torch float32, cosine 0.9999, 12 MB" in found
    assert "small random model of the type" in found
    assert "operator: no rule for aten::op_7" in found
    assert "✗ exported" in found
    assert "✓ reacts" in found
    assert re.search(r"latency\s+0\.5\d* ms \(0\.5\d* to 0\.6\d*\)", found)
    assert "latency over 3 runs" in found
    dots = desk.run("[...document.querySelectorAll('tr.detail svg')][0].getAttribute('aria-label')")
    assert re.match(r"elsewhere, .*another machine; before, .*: ok .* ms; <now>, .*: ok .* ms$", dots)
    assert desk.run("document.querySelectorAll('tr.detail section').length") == 4
    desk.click("tbody tr .open")
    assert desk.run("document.querySelector('tr.detail')") is None


def test_it_can_be_used_from_the_keyboard(desk: Page) -> None:
    desk.press("/", 191, "/")
    assert desk.run("document.activeElement.id") == "search"
    desk.type("#search", "type-003")
    desk.run("document.querySelector('tbody .open').focus()")
    desk.press("Enter", 13, "\r")
    assert desk.run("document.querySelector('tbody .open').getAttribute('aria-expanded')") == "true"
    assert desk.run("document.activeElement.className") == "open"
    desk.press("Escape", 27)
    assert desk.run("document.querySelector('tr.detail')") is None
    nameless = desk.run(
        "[...document.querySelectorAll('button, select, input')].filter(e => e.offsetParent && "
        "!(e.innerText || e.getAttribute('aria-label') || e.labels?.length)).length"
    )
    assert nameless == 0


def test_what_is_shown_is_in_the_address(chromium: Any, address: str) -> None:
    wanted = "#q=type-00&show=cosine&sort=name&down=1&open=type-003"
    shown = Page(chromium, address + wanted)
    assert names(shown) == [f"type-{number:03}" for number in range(9, -1, -1)]
    assert text(shown, "tr.detail").startswith("type-003 on this machine")
    assert shown.run("document.querySelector('#search').value") == "type-00"
    shown.type("#search", "type-01")
    assert "q=type-01" in shown.run("location.hash")
    shown.close()


def test_text_from_results_is_only_text(desk: Page, store: Store) -> None:
    desk.type("#search", "zz-hostile")
    desk.click("tbody .open")
    assert "</script><script>document.title" in text(desk, "tr.detail")
    assert desk.run("document.title") == "Compatibility matrix: <now>"
    assert page(store, store.run()).count("</script>") == 3


@pytest.mark.parametrize("dark", [False, True])
def test_outcomes_are_told_apart_by_colours_that_can_be_read(desk: Page, dark: bool) -> None:
    if dark:
        desk.dark()
    colours = {}
    for number, outcome in ((7, "failed"), (100, "skipped"), (101, "untested"), (1, "ok")):
        row = f"[...document.querySelectorAll('tbody tr')][{number + 1}].querySelector('td:nth-child(4)')"
        found = desk.run(
            f"(s => [s.className, s.color, s.backgroundColor])(Object.assign(getComputedStyle({row}), {{}}))"
        )
        assert outcome in desk.run(f"{row}.className")
        paper = (
            found[2]
            if found[2] != "rgba(0, 0, 0, 0)"
            else desk.run("getComputedStyle(document.querySelector('.scroll')).backgroundColor")
        )
        colours[outcome] = paper
        assert contrast(found[1], paper) >= 4.5, (outcome, found)
    assert len(set(colours.values())) == 4


def test_a_phone_shows_cards_that_fit_and_can_be_touched(phone: Page) -> None:
    width = "document.documentElement.scrollWidth"
    assert phone.run(width) == 360
    phone.type("#search", "type-007")
    phone.click("tbody .open")
    assert phone.run(width) == 360
    assert "no rule for aten::op_7" in text(phone, "tr.detail")
    wide = phone.run(
        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 361).length"
    )
    assert wide == 0
    small = phone.run(
        "[...document.querySelectorAll('button, select, input, summary')].filter(e => e.offsetParent)"
        ".map(e => [e.id || e.className || e.innerText, e.getBoundingClientRect()])"
        ".filter(([, r]) => r.height < 40 || r.width < 40).map(([name]) => name)"
    )
    assert small == []
    title = phone.run("getComputedStyle(document.querySelector('td.cell'), '::before').content")
    assert title == '"torch float32"'  # a card says what a column's heading says
    phone.type("#search", "type-00")
    phone.choose("#sort", "1")  # there are no headings to click at
    phone.choose("#show", "throughput")
    phone.click("#direction")
    assert names(phone)[0] == "type-000"


def test_drawing_does_not_wait_for_all_rows(chromium: Any, many: str) -> None:
    # As it loads, and whenever a filter changes: what is beyond the screen comes after what is on it.
    shown = Page(chromium, many)
    search = "document.querySelector('#search')"
    at_once = shown.run(f"({search}.value = 'type', {search}.dispatchEvent(new Event('input')), {NAMES}.length)")
    assert 40 < at_once < 200
    assert len(names(shown)) == MANY
    assert shown.complaints == []
    shown.close()


def test_the_page_is_one_file_that_may_load_nothing(store: Store) -> None:
    html = page(store, store.run())
    assert "default-src 'none'" in html
    assert "unsafe" not in html
    assert not re.search(r"(?:src|href)=(?!\"data:,)", html.partition('<script type="application/json"')[0])
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", html)
    data = page_data(store, store.run())
    assert json.loads(json.dumps(data)) == data
    assert len(html) < 500_000
