"""Forecasts: against the plain models, with every series alone and together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy import stats  # noqa: E402

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable  # noqa: E402
from ipfs_accelerate_py.results import Forecast  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.distributions import spread  # noqa: E402

from .vision_models import Model, array, assert_batched_equals_single  # noqa: E402

TASK = "time-series-forecasting"


def wave(steps: int, phase: float = 0.0, level: float = 0.0) -> list[float]:
    return [level + math.sin(at / 3 + phase) for at in range(steps)]


def patchtst(**named: Any) -> Any:
    shape = {"context_length": 24, "prediction_length": 6, "patch_length": 4, "patch_stride": 4, "d_model": 16}
    depth = {"num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32, "num_input_channels": 2}
    return transformers.PatchTSTForPrediction(transformers.PatchTSTConfig(**shape, **depth, **named))


def patchtsmixer(**named: Any) -> Any:
    shape = {"context_length": 24, "prediction_length": 6, "patch_length": 4, "patch_stride": 4, "d_model": 8}
    return transformers.PatchTSMixerForPrediction(
        transformers.PatchTSMixerConfig(**shape, num_layers=1, num_input_channels=2, **named)
    )


def two(steps: int, phase: float = 0.0) -> list[list[float]]:
    return [[one, 3 * other] for one, other in zip(wave(steps, phase), wave(steps, phase + 1), strict=True)]


@pytest.mark.parametrize("make", [patchtst, patchtsmixer])
def test_several_variables_are_forecast_as_by_the_plain_model(make: Any, tmp_path: Path) -> None:
    model = Model(tmp_path, TASK, make(loss="mse"))
    series = [two(30, phase) for phase in (0.0, 1.0, 2.0)]
    (result, *_) = model.run(series)
    assert isinstance(result, Forecast)
    assert result.mean.shape == [6, 2]
    assert result.quantiles == {}
    with torch.no_grad():
        expected = model.model(past_values=torch.tensor([series[0][-24:]])).prediction_outputs[0]
    np.testing.assert_allclose(array(result.mean), expected.numpy(), atol=1e-4)
    assert_batched_equals_single(model, series)
    (shorter,) = model.run(series[:1], {"prediction_length": 2})
    np.testing.assert_allclose(array(shorter.mean), array(result.mean)[:2], atol=1e-6)
    with pytest.raises(InvalidRequest, match="2"):
        model.run([wave(30)])
    with pytest.raises(InvalidRequest, match="quantiles"):
        model.run(series[:1], {"quantiles": [0.5]})


@pytest.mark.parametrize("name", ["student_t", "normal", "negative_binomial"])
def test_a_distribution_is_told_by_its_quantiles(name: str, tmp_path: Path) -> None:
    model = Model(tmp_path, TASK, patchtst(loss="nll", distribution_output=name))
    series = [[abs(value) for value in row] for row in two(24)]
    (result,) = model.run([{"past_values": series}], {"quantiles": [0.1, 0.5, 0.9]})
    low, middle, high = (array(result.quantiles[level]) for level in ("0.1", "0.5", "0.9"))
    assert (low <= middle).all()
    assert (middle <= high).all()
    with torch.no_grad():
        outputs = model.model(past_values=torch.tensor([series]))
        head = model.model.distribution_output
        found = head.distribution(outputs.prediction_outputs, loc=outputs.loc, scale=outputs.scale)
    np.testing.assert_allclose(array(result.mean), found.mean[0].numpy(), rtol=1e-3, atol=1e-3)
    torch.manual_seed(0)
    draws = found.sample((4000,))[:, 0].numpy()
    below = (draws <= high).mean(axis=0)
    assert (below > 0.86).all()
    assert_batched_equals_single(model, [series, [[2 * value for value in row] for row in series]])


def test_quantiles_of_shifted_and_scaled_distributions() -> None:
    one = np.ones((1, 1))
    mean, levels = spread("normal", [one, 2 * one], 10 * one, 3 * one, [0.5, 0.975])
    assert mean[0, 0] == pytest.approx(13)
    assert levels[0.975][0, 0] == pytest.approx(13 + 6 * stats.norm.ppf(0.975))
    mean, levels = spread("student_t", [5 * one, one, 2 * one], 10 * one, 3 * one, [0.9])
    assert levels[0.9][0, 0] == pytest.approx(13 + 6 * stats.t(5).ppf(0.9))


def test_gaps_are_masked_where_the_model_can_be_told(tmp_path: Path) -> None:
    model = Model(tmp_path, TASK, patchtst(loss="mse"))
    series: list[list[Any]] = two(24)
    holes = [list(row) for row in series]
    holes[5][0], holes[6][1] = None, math.nan
    values, mask = torch.tensor([series]), torch.ones(1, 24, 2, dtype=torch.bool)
    for row, column in ((5, 0), (6, 1)):
        values[0, row, column], mask[0, row, column] = 0, False
    with torch.no_grad():
        expected = model.model(past_values=values, past_observed_mask=mask).prediction_outputs[0]
    (result,) = model.run([holes])
    np.testing.assert_allclose(array(result.mean), expected.numpy(), atol=1e-4)
    (short,) = model.run([two(10)])
    assert np.isfinite(array(short.mean)).all()


def timesfm(kind: str) -> Any:
    shape = {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "head_dim": 8,
    }
    if kind == "timesfm":
        config = transformers.TimesFmConfig(**shape, context_length=64, horizon_length=16, patch_length=8)
        return transformers.TimesFmModelForPrediction(config)
    lengths = {"context_length": 64, "horizon_length": 16, "patch_length": 8, "output_quantile_len": 32}
    config = transformers.TimesFm2_5Config(**shape, **lengths, num_key_value_heads=2)
    return transformers.TimesFm2_5ModelForPrediction(config)


@pytest.mark.parametrize("kind", ["timesfm", "timesfm2_5"])
def test_series_of_any_length_get_mean_and_quantiles(kind: str, tmp_path: Path) -> None:
    model = Model(tmp_path, TASK, timesfm(kind))
    series = [wave(40, level=5.0), wave(40, 1.0), wave(56, 2.0)]
    results = model.run(series)
    for given, result in zip(series, results, strict=True):
        with torch.no_grad():
            expected = model.model(past_values=[torch.tensor(given)])
        np.testing.assert_allclose(array(result.mean), expected.mean_predictions[0].numpy(), atol=1e-4, rtol=1e-4)
        assert len(result.quantiles) == 9
        last = expected.full_predictions[0, :, -1].numpy()
        np.testing.assert_allclose(array(result.quantiles["0.9"]), last, atol=1e-4, rtol=1e-4)
    assert_batched_equals_single(model, series)
    (both,) = model.run([two(40)], {"quantiles": [0.5]})
    assert both.mean.shape == both.quantiles["0.5"].shape
    assert both.mean.shape[1] == 2
    with pytest.raises(InvalidRequest, match="quantiles"):
        model.run(series[:1], {"quantiles": [0.33]})
    with pytest.raises(InvalidRequest, match="gaps"):
        model.run([[1.0, None, 2.0]])


def drawn(kind: str) -> Any:
    config = getattr(transformers, f"{kind}Config")(
        context_length=16, prediction_length=4, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
        decoder_ffn_dim=16, lags_sequence=[1, 2, 3], num_time_features=1, num_parallel_samples=20, input_size=1,
    )  # fmt: skip
    return getattr(transformers, f"{kind}ForPrediction")(config)


@pytest.mark.parametrize("kind", ["TimeSeriesTransformer", "Informer", "Autoformer"])
def test_models_that_draw_samples_draw_the_same_ones_for_a_series_wherever_it_is(kind: str, tmp_path: Path) -> None:
    model = Model(tmp_path, TASK, drawn(kind))
    clock = {"past_time_features": [at / 19 for at in range(19)], "future_time_features": [1.0, 1.1, 1.2, 1.3]}
    series = [{"past_values": wave(19, phase), **clock} for phase in (0.0, 1.0)]
    state = torch.random.get_rng_state()
    results = model.run(series)
    assert (torch.random.get_rng_state() == state).all()
    assert results[0].mean.shape == [4]
    assert set(results[0].quantiles) == {"0.1", "0.5", "0.9"}
    assert_batched_equals_single(model, series)
    torch.manual_seed(0)
    with torch.inference_mode():
        samples = model.model.generate(
            past_values=torch.tensor([wave(19)]),
            past_observed_mask=torch.ones(1, 19),
            past_time_features=torch.tensor(clock["past_time_features"])[None, :, None],
            future_time_features=torch.tensor(clock["future_time_features"])[None, :, None],
        ).sequences[0]
    np.testing.assert_allclose(array(results[0].mean), samples.mean(0).numpy(), atol=1e-5)
    assert model.run(series[:1], {"seed": 1})[0] != results[0]
    with pytest.raises(InvalidRequest, match="time_features"):
        model.run([{"past_values": wave(19)}])


@pytest.mark.parametrize("wrong", [[], "x", {}, [[1.0], [1.0, 2.0]], [math.inf, 1.0], [None, None], [[[1.0]]]])
def test_what_is_no_series_is_refused(wrong: Any, tmp_path: Path) -> None:
    model = Model(tmp_path, TASK, patchtst(loss="mse"))
    with pytest.raises(InvalidRequest):
        model.run([wrong])


def test_a_model_without_a_head_that_forecasts_says_so(tmp_path: Path) -> None:
    bare = transformers.PatchTSTModel(patchtst(loss="mse").config)
    with pytest.raises(RuntimeUnavailable, match="no head"):
        Model(tmp_path, TASK, bare).run([two(24)])
