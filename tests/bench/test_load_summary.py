"""Percentiles, objectives and goodput: by hand, and beside numpy."""

from __future__ import annotations

import random

import pytest

from ipfs_accelerate_py.bench.arrivals import Closed, Open
from ipfs_accelerate_py.bench.load.runner import Run
from ipfs_accelerate_py.bench.load.samples import NOT_STARTED, Sample
from ipfs_accelerate_py.bench.load.slo import Objective
from ipfs_accelerate_py.bench.load.summary import needed, percentiles, summarise
from ipfs_accelerate_py.errors import ConfigurationError


def sample(number: int, due: float, total: float, **given: object) -> Sample:
    made = Sample(number, due, due, ended=due + total)
    for name, value in given.items():
        setattr(made, name, value)
    return made


def test_percentiles_are_numpys_and_are_not_given_of_too_few() -> None:
    numpy = pytest.importorskip("numpy")
    values = [random.Random(1).lognormvariate(0, 1) for _ in range(3000)]
    found = percentiles(values)
    assert list(found) == [50, 90, 95, 99, 99.9]
    assert list(found.values()) == pytest.approx(list(numpy.percentile(values, [50, 90, 95, 99, 99.9])))
    assert list(percentiles(values[:299])) == [50, 90, 95, 99]
    assert list(percentiles(values[:298])) == [50, 90, 95]
    assert percentiles(values[:4]) == {}


def test_as_many_samples_as_it_takes_that_one_lies_beyond() -> None:
    """By what the rule is made of: the chance that all of n samples lie below the percentile is its share to the n."""
    for percent in (50.0, 90.0, 95.0, 99.0, 99.9):
        share = percent / 100
        assert share ** needed(percent) <= 0.05 < share ** (needed(percent) - 1)
    assert [needed(percent) for percent in (50, 95, 99, 99.9)] == [5, 59, 299, 2995]


def test_an_objective_is_read_and_said() -> None:
    objective = Objective.parse("ttft=300ms, total=2s,itl=50ms,tpot=0.02")
    assert objective == Objective(0.3, 2.0, 0.05, 0.02)
    assert Objective.parse(str(objective)) == objective
    assert objective.of_streams == ("ttft", "itl", "tpot")
    for wrong in ("", "ttft", "ttft=", "ttft=0", "ttft=fast", "latency=1s", "total=-1s"):
        with pytest.raises(ConfigurationError):
            Objective.parse(wrong)


def test_what_keeps_to_an_objective() -> None:
    good = sample(0, 10.0, 1.0, first=10.2, gaps=[0.1, 0.3, 0.4], output_tokens=5)
    assert good.first_token == pytest.approx(0.2)
    assert good.per_token == pytest.approx(0.2)
    for text, met in (
        ("ttft=210ms", True), ("ttft=190ms", False), ("total=1001ms", True), ("total=999ms", False),
        ("itl=400ms", True), ("itl=390ms", False), ("tpot=210ms", True), ("tpot=190ms", False),
        ("ttft=1s,total=900ms", False),
    ):  # fmt: skip
        assert Objective.parse(text).met(good) is met, text
    # A short answer has nothing between its tokens; a failed one is never in time, and neither is one without content.
    assert Objective.parse("itl=1ms,tpot=1ms").met(sample(0, 0, 1, first=0.5, output_tokens=1))
    assert not Objective.parse("total=1h".replace("1h", "60m")).met(sample(0, 0, 1, error="ServerError 500"))
    assert not Objective.parse("ttft=60m").met(sample(0, 0, 1))


def test_a_wait_for_a_place_is_part_of_what_an_objective_judges() -> None:
    waited = Sample(0, 0.0, begun=5.0, first=5.1, ended=5.2, late=True)
    assert not Objective.parse("ttft=1s").met(waited)


def test_what_a_step_adds_up_to() -> None:
    run = Run(Open(4), 100.0, 103.0, cpu=0.5, most=3)
    run.samples = [
        sample(0, 100.0, 9.0, warm=True),
        sample(1, 100.5, 0.5, first=100.6, gaps=[0.2, 0.2], input_tokens=10, output_tokens=3),
        sample(2, 101.0, 1.0, first=101.7, gaps=[0.3], input_tokens=12, output_tokens=2, attempts=3),
        sample(3, 101.5, 0.1, error="RateLimited 429"),
        sample(4, 102.0, 0.1, error="RateLimited 429", late=True),
        sample(5, 102.5, 0.0, error=NOT_STARTED, begun=float("nan"), late=True),
    ]
    summary = summarise(run, Objective.parse("ttft=200ms"))
    assert (summary.calls, summary.good, summary.failed, summary.late) == (5, 2, 3, 2)
    assert summary.errors == {"RateLimited 429": 2, NOT_STARTED: 1}
    assert summary.seconds == pytest.approx(2.0)
    assert summary.offered == pytest.approx(2.0)  # four gaps in two seconds
    assert summary.rate == pytest.approx(1.0)
    assert summary.tokens_per_second == pytest.approx(2.5)
    assert (summary.input_tokens, summary.retries) == (22, 2)
    assert summary.total == pytest.approx([0.5, 1.0])
    assert summary.first == pytest.approx([0.1, 0.7])
    assert summary.between == pytest.approx([0.2, 0.2, 0.3])
    assert summary.met == 1
    assert summary.share_met == pytest.approx(0.2)
    assert summary.goodput == pytest.approx(0.4)  # a fifth of two arrivals a second
    run.load = Closed(2)
    assert summarise(run, Objective.parse("ttft=200ms")).goodput == pytest.approx(0.5)  # one in two seconds
    assert summarise(run).met is summarise(run).goodput is None


def test_a_step_without_calls_has_no_figures() -> None:
    empty = summarise(Run(Closed(1), 0.0, 1.0), Objective.parse("total=1s"))
    assert (empty.calls, empty.good, empty.share_met, empty.total) == (0, 0, None, [])
