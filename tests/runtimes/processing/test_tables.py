"""Questions about tables (TAPAS), beside what Transformers' own tokenizer makes of the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.results import Spans
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

pytest.importorskip("pandas")

from .small import Served

TABLE = {"name": ["anna", "the fox", "dog"], "age": ["1", "22", "3"]}
ASKED = [
    {"query": "what is the name of the dog", "table": TABLE},
    {"query": "the age?", "table": {"name": ["anna"], "age": ["1"]}},
    {"query": "name", "table": [{"name": "fox", "city": "rome"}, {"name": "dog", "city": "york"}]},
]


@pytest.fixture(scope="module")
def tapas(tmp_path_factory: pytest.TempPathFactory) -> Served:
    import transformers

    folder: Path = write_tiny(
        "tapas", tmp_path_factory.mktemp("tapas"), auto="AutoModelForTableQuestionAnswering", seed=1
    )
    model = transformers.AutoModelForTableQuestionAnswering.from_pretrained(folder)
    return Served("table-question-answering", folder, model.eval())


def cells(found: Any) -> dict[tuple[int, int], float]:
    assert isinstance(found, Spans)
    return {(each.start, each.end): each.score for each in found.answers}


def test_cells_are_those_of_transformers_own_reading(tapas: Served) -> None:
    import pandas
    import torch
    import transformers

    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tapas.processing.context.path)  # type: ignore[attr-defined]
    given: Any = ASKED[0]
    every = cells(tapas(given, threshold=0.0)[0])
    (column,) = {where[1] for where in every}  # it answers from one column
    assert set(every) == {(line, column) for line in range(3)}
    middle = sorted(every.values())[len(every) // 2] - 1e-6  # so that some cells are answers, and some are not
    made = tokenizer(table=pandas.DataFrame(given["table"]), queries=given["query"], return_tensors="pt")
    with torch.inference_mode():
        logits = tapas.model(**made).logits
    (theirs,) = tokenizer.convert_logits_to_predictions(made, logits, cell_classification_threshold=middle)
    assert set(theirs[0]) == set(cells(tapas(given, threshold=middle)[0]))
    assert 0 < len(theirs[0]) < 3


def test_a_batch_answers_as_each_alone(tapas: Served) -> None:
    together: Any = tapas(*ASKED, threshold=0.0)
    for given, found in zip(ASKED, together, strict=True):
        alone = cells(tapas(given, threshold=0.0)[0])
        assert cells(found) == pytest.approx(alone, abs=1e-5)
    assert [each.text for each in together[1].answers if each.start >= 0] in (["anna"], ["1"])


@pytest.mark.parametrize("table", [None, {}, {"name": ["a", "b"], "age": ["1"]}, {"name": []}, [1, 2]])
def test_what_is_no_table_is_refused(tapas: Served, table: Any) -> None:
    with pytest.raises(InvalidRequest, match="table"):
        tapas({"query": "who", "table": table})
