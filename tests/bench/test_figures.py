"""Sessions and their figures: what is kept is what comes back, and what must not be kept is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_accelerate_py.bench.figures import HIGHER, Case, Left, Session
from ipfs_accelerate_py.bench.keeping import write_all
from ipfs_accelerate_py.bench.measurement import Measurement, quantile
from ipfs_accelerate_py.bench.tables import lines, markdown, tables
from ipfs_accelerate_py.errors import ConfigurationError

CASE = Case("embeddings", "bert", "torch", "float32", "cpu", 8, "16 tokens", {"weights": "random"})


def session() -> Session:
    made = Session("ipfs-accelerate bench", 2, {"processor": "one", "processors": 2}, {"numpy": "1"}, load=[0.5, 0.7])
    speed = made.measurement(CASE, "sentences/s", "sentences/s", HIGHER, "bert, 16 tokens")
    for number, value in enumerate((10.0, 30.0, 20.0)):
        speed.add(number, value, [value, value + 1])
    made.measurement(CASE, "weights", "bytes").add(0, 17.5e6)
    made.left.append(Left(Case("embeddings", "bert", "llvm", "int8", "cpu"), "skipped", "it has no int8"))
    return made


def test_a_session_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = session()
    read = Session.read(written.write(tmp_path / "new" / "figures.json"))
    assert read.plain() == written.plain()
    assert read.measurements[0].session is read
    assert read.find("sentences/s", batch=8)[0].raw == [[10.0, 11.0], [30.0, 31.0], [20.0, 21.0]]
    assert read.left == written.left


def test_the_file_says_what_the_values_come_to(tmp_path: Path) -> None:
    row = json.loads(session().write(tmp_path / "f.json").read_text())["measurements"][0]
    assert (row["median"], row["low"], row["high"], row["least"], row["most"]) == (20, 15, 25, 10, 30)
    assert row["raw"][1] == [30, 31]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "command": 3}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"f\.json"):
        Session.read(tmp_path / "f.json")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Session.read(tmp_path / "none.json")


def test_no_value_is_kept_that_is_no_number_or_is_there_already() -> None:
    speed = Measurement(CASE, "sentences/s", "sentences/s", HIGHER)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not finite"):
            speed.add(0, value)
    with pytest.raises(ValueError, match="not finite"):
        speed.add(0, 1.0, [float("nan")])
    speed.add(1, 1.0)
    with pytest.raises(ValueError, match="round 1 already"):
        speed.add(1, 2.0)
    assert speed.values == [1.0]


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0, 1))
def test_a_quantile_is_where_it_should_be(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert min(values) <= found <= max(values)
    assert quantile(values, 0.0) == min(values)
    assert quantile(values, 1.0) == max(values)
    assert quantile([1.0, 2.0, 4.0, 8.0], 0.5) == 3.0
    with pytest.raises(ValueError, match="no values"):
        quantile([], share)


def test_what_is_shown(tmp_path: Path) -> None:
    made = session()
    (table,) = tables(made)
    assert table.columns[-2:] == ("weights [MB]", "beside")
    assert table.rows[0][:5] == ("bert", "torch float32 cpu", "8", "16 tokens", "20 (10 to 30)")
    page = markdown(made)
    assert "| bert | llvm int8 cpu | skipped | it has no int8 |" in page
    assert "one, 2 processors, 2 threads for each contestant" in page
    rows = list(lines(made))
    assert rows[0][-5:] == ("sentences/s", "20", "sentences/s", "10", "30")
    assert rows[-1][-2:] == ("skipped", "it has no int8")


def test_files_beside_one_another(tmp_path: Path) -> None:
    said: list[str] = []
    written = write_all(session(), tmp_path / "v1.2", said.append)
    assert {path.name for path in written} >= {"v1.2.json", "v1.2.md"}
    assert len(written) + len(said) == 4  # what was not drawn is told
    empty = Session("nothing")
    assert len(write_all(empty, tmp_path / "empty", said.append)) == 2
    assert said[-1] == "there are no figures to draw"
