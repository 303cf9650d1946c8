"""What comes after a series of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Forecast
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import tensor
from .base import Context, Piece, Processing
from .distributions import spread
from .options import bad_option, whole
from .pictures import refuse
from .series import Series, read_series

__all__ = ["DRAWN", "Forecasting"]

#: Types that draw what comes next from a distribution, one step after the other, by the model's own code.
DRAWN = ("time_series_transformer", "informer", "autoformer")
#: Types that see one variable, of any length.
_SINGLE = ("timesfm", "timesfm2_5")
_LEVELS = (0.1, 0.5, 0.9)


class Forecasting(Processing):
    """Input: a list of numbers, a list of lists (a row per step, a column per variable), or a mapping of these as
    ``past_values`` and what else the model was trained with:

    ``freq`` (TimesFM: 0 daily or more often, 1 weekly and monthly, 2 quarterly and yearly); ``past_time_features`` and
    ``future_time_features`` (a row per step), ``static_categorical_features``, ``static_real_features``. A value that
    is None or NaN was not observed, for models that can be told so.

    Options: ``prediction_length`` (at most the model's), ``quantiles`` (levels between 0 and 1), ``seed`` (0; of models
    that draw samples, each series with its own draws). ``mean`` and ``quantiles`` have the input's form: steps, or
    steps x variables.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.kind = context.config.model_type
        self.runs = self.kind in DRAWN
        if not (self.runs or self.kind in _SINGLE or self.kind in ("patchtst", "patchtsmixer")):
            raise RuntimeUnavailable(f"models of type {self.kind!r} forecast nothing that this machine can read")

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        series = read_series(given)
        if self.kind in _SINGLE:
            return [self._single(series, at) for at in range(series.values.shape[1])]
        features = self._drawn(series) if self.runs else self._patched(series)
        shapes = tuple((name, features[name].shape) for name in sorted(features))
        # The draws of a batch come from one stream: alone, each series gets its own.
        group: Any = object() if self.runs else shapes
        note = (series.flat, whole(options, "seed", 0))
        return [Piece(features, length=max(1, len(series.values) // 16), group=group, note=note)]

    def _single(self, series: Series, at: int) -> Piece:
        np = require("numpy")
        if not series.seen.all():
            raise refuse("past_values has gaps, and this model cannot be told of any: fill them first", "input")
        values = series.values[-self.config.context_length :, at] if self._context() else series.values[:, at]
        features: dict[str, Any] = {"past_values": values.astype("float32")}
        if self._takes("freq"):
            freq = series.also.get("freq", 0)
            if freq not in (0, 1, 2):
                raise refuse(f"freq must be 0, 1 or 2, not {freq!r}", "freq")
            features["freq"] = np.int64(freq)
        return Piece(features, length=max(1, len(values) // 16), group=len(values), note=(series.flat, 0))

    def _context(self) -> int:
        return int(getattr(self.config, "context_length", 0) or 0)

    def _patched(self, series: Series) -> dict[str, Any]:
        channels, context = self.config.num_input_channels, self.config.context_length
        values, seen = series.last(context)
        if values.shape[1] != channels:
            raise refuse(f"past_values has {values.shape[1]} variables; the model reads {channels}", "input")
        mask = next((name for name in ("past_observed_mask", "observed_mask") if self._takes(name)), None)
        if not seen.all() and mask is None:
            raise refuse(f"past_values must have {context} steps without gaps", "input")
        return {"past_values": values, **({mask: seen} if mask else {})}

    def _drawn(self, series: Series) -> dict[str, Any]:
        config = self.config
        steps = config.context_length + max(config.lags_sequence)
        values, seen = series.last(steps)
        if values.shape[1] != config.input_size:
            raise refuse(f"past_values has {values.shape[1]} variables; the model reads {config.input_size}", "input")
        if config.input_size == 1:
            values, seen = values[:, 0], seen[:, 0]
        width = config.num_time_features + config.num_dynamic_real_features
        features: dict[str, Any] = {
            "past_values": values,
            "past_observed_mask": seen.astype("float32"),
            "past_time_features": series.rows("past_time_features", steps, width),
            "future_time_features": series.rows("future_time_features", config.prediction_length, width),
        }
        if config.num_static_categorical_features:
            found = series.row("static_categorical_features", config.num_static_categorical_features)
            features["static_categorical_features"] = found.astype("int64")
        if config.num_static_real_features:
            features["static_real_features"] = series.row("static_real_features", config.num_static_real_features)
        return features

    def _takes(self, name: str) -> bool:
        return self.context.inputs is None or name in self.context.inputs

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        np = require("numpy")
        batch: dict[str, Any] = {
            name: np.stack([piece.features[name] for piece in pieces]) for name in pieces[0].features
        }
        if "freq" in batch:
            batch["freq"] = batch["freq"].tolist()  # as the model wants it: it makes a tensor of numbers itself
        if self.kind in _SINGLE and self._takes("truncate_negative"):
            # It would cut all of a batch at zero where the least value of all is not below: `join` does it by series.
            batch["truncate_negative"] = False
        return batch

    def run(self, network: Any, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        if not self.runs:
            return super().run(network, pieces)
        torch = require("torch")
        model = getattr(network, "model", None)
        if model is None or not hasattr(model, "generate"):
            raise RuntimeUnavailable("forecasts that are drawn step by step come from runtime torch only")
        rows = []
        for piece in pieces:
            batch = {name: torch.from_numpy(value)[None].to(model.device) for name, value in piece.features.items()}
            cuda = [model.device] if model.device.type == "cuda" else []
            with torch.inference_mode(), torch.random.fork_rng(devices=cuda):
                torch.manual_seed(piece.note[1])
                rows.append({"samples": model.generate(**batch).sequences[0].float().cpu().numpy()})
        return rows

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Forecast:
        np = require("numpy")
        levels = _levels(options)
        made = [self._told(row, piece, levels) for row, piece in zip(rows, pieces, strict=True)]
        if self.kind in _SINGLE:
            made = [(np.stack([each[0] for each in made], 1), _across([each[1] for each in made]))]
        mean, quantiles = made[0]
        steps = whole(options, "prediction_length", len(mean), low=1, high=len(mean))
        flat = pieces[0].note[0]

        def shaped(values: Any) -> Any:
            values = values[:steps]
            return values[:, 0] if flat and values.ndim == 2 and values.shape[1] == 1 else values

        return Forecast(
            mean=tensor("mean", shaped(mean)),
            quantiles={f"{level:g}": tensor(f"{level:g}", shaped(each)) for level, each in quantiles.items()},
        )

    def _told(
        self, row: Mapping[str, Any], piece: Piece, levels: Sequence[float] | None
    ) -> tuple[Any, dict[float, Any]]:
        """Mean, and values by level, of one piece's outputs."""
        np = require("numpy")
        if "samples" in row:
            samples = row["samples"]
            return samples.mean(axis=0), {each: np.quantile(samples, each, axis=0) for each in levels or _LEVELS}
        if self.kind in _SINGLE:
            mean, full = row["mean_predictions"], row["full_predictions"]
            if getattr(self.config, "infer_is_positive", False) and piece.features["past_values"].min() >= 0:
                mean, full = mean.clip(0), full.clip(0)
            there = [float(each) for each in self.config.quantiles]
            missing = [each for each in levels or () if each not in there]
            if missing:
                raise bad_option("quantiles", f"has {missing[0]:g}; this model tells {', '.join(map(str, there))}")
            return mean, {each: full[:, 1 + there.index(each)] for each in levels or there}
        if "prediction_outputs" in row:
            if levels:
                raise bad_option("quantiles", "cannot be told by this model: it was trained for a mean only")
            return row["prediction_outputs"], {}
        if "prediction_outputs.0" not in row:
            raise RuntimeUnavailable(f"this checkpoint ({self.context.auto}) has no head that forecasts")
        parts = [row[f"prediction_outputs.{at}"] for at in range(sum("prediction_outputs." in name for name in row))]
        return spread(self.config.distribution_output, parts, row["loc"], row["scale"], levels or _LEVELS)


def _across(each: Sequence[Mapping[float, Any]]) -> dict[float, Any]:
    np = require("numpy")
    return {level: np.stack([one[level] for one in each], 1) for level in each[0]}


def _levels(options: Mapping[str, Any]) -> list[float] | None:
    told = options.get("quantiles")
    if told is None:
        return None
    if not isinstance(told, list | tuple) or not all(isinstance(each, float | int) and 0 < each < 1 for each in told):
        raise bad_option("quantiles", f"is a list of numbers between 0 and 1, not {told!r}")
    return [float(each) for each in told]
