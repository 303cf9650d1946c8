"""One cell of the matrix: loaded, asked, compared, timed. Whatever goes wrong is in the result."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ipfs_accelerate_py.runtimes.engines.loss import LEAST_COSINE
from ipfs_accelerate_py.runtimes.engines.openvino_agreement import compare
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.overrides import CONSTANT, SKIPPED_TYPES, UNBATCHED

from .causes import cause_of, classify, one_line
from .comparing import TOLERANCE, cosine, difference, finite, part_of, rows_of
from .memory import Watermark
from .networks import CannotHere, Runner, open_runner
from .results import FAILED, OK, SKIPPED, Cell, Result
from .subjects import Subject, open_subject
from .timing import gauge, time_passes

__all__ = ["Probe", "warm"]

# Seeds of what is asked: inputs that nothing was made with.
_FRESH, _PAIR, _LARGE = (21, 22), 3, 4
#: Inputs of the larger batch.
BATCH = 8
#: By precision, the difference from another order of the same sums that is rounding; float32 on other runtimes than
#: PyTorch has other kernels for other batches.
_ROUNDING = {"float32": 1e-3}
_ROUNDING_LOW = 3e-2


def warm(runtimes: Sequence[str]) -> None:
    """Import everything that cells would, each for itself; one thread a process."""
    from ipfs_accelerate_py.runtimes.families.tiny import tiny_model

    warnings.simplefilter("ignore")
    transformers, torch = require("transformers"), require("torch")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for each in ("bert", "llama", "t5", "clip", "whisper"):
        model = tiny_model(each)
        _ = Subject(each, each, "", model).sampler
    if "openvino" in runtimes:
        for name in ("openvino", "openvino.frontend.pytorch", "transformers.exporters.exporter_openvino", "nncf"):
            require(name)
    if "llvm" in runtimes:
        require("iree.compiler")


class Probe:
    """Makes results, one cell after another; a subject and its export serve all cells of it.

    Args:
        seconds: for the timing of a batch size; 0 leaves timing out.
        threads: of a forward pass.
        subjects: makes what is probed of a name.
    """

    def __init__(
        self, *, seconds: float = 0.3, threads: int = 1, subjects: Callable[[str], Subject] = open_subject
    ) -> None:
        self._seconds, self._threads, self._subjects = seconds, threads, subjects
        self._subject: Subject | None = None

    def __call__(self, cell: Cell) -> Result:
        """What is found in a cell."""
        result = Result(cell, measured_at=time.time())
        begun = time.monotonic()
        _Look(self, cell, result).all()
        result.seconds = round(time.monotonic() - begun, 3)
        return result

    def subject(self, name: str) -> Subject:
        """The subject of that name; the one before is let go of."""
        if self._subject is None or self._subject.name != name:
            self._subject = None
            self._subject = self._subjects(name)
        return self._subject

    @property
    def seconds(self) -> float:
        """For the timing of a batch size."""
        return self._seconds

    @property
    def threads(self) -> int:
        """Of a forward pass."""
        return self._threads


class _Stop(Exception):
    """The outcome is known."""


class _Look:
    """One look at one cell."""

    def __init__(self, probe: Probe, cell: Cell, result: Result) -> None:
        self.probe, self.cell, self.result = probe, cell, result
        self.reference = cell[1:] == ("torch", "float32", "cpu")

    def all(self) -> None:
        """Every check in turn, until one fails; then the clock."""
        try:
            subject = self._built()
            runner = self._loaded(subject)
            try:
                self._asked(subject, runner)
            finally:
                runner.close()
        except _Stop:
            pass

    def _asked(self, subject: Subject, runner: Runner) -> None:
        expected, got = self._ran(subject, runner)
        self._finite(got)
        self._reacts(got)
        if not self.reference:
            self._agrees(runner, expected, got)
        self._batched(subject, runner)
        self._timed(subject, runner)
        self.result.outcome = OK

    def _built(self) -> Subject:
        name, result = self.cell.subject, self.result
        if (why := SKIPPED_TYPES.get(name)) is not None:
            self._skip(why)
        try:
            subject = self.probe.subject(name)
        except Exception as exc:
            self._fail("built", exc)
        result.checks["built"] = OK
        result.model_type, result.auto = subject.model_type, subject.auto
        result.figures["parameters"] = float(subject.parameters())
        return subject

    def _loaded(self, subject: Subject) -> Runner:
        # PyTorch must be able to run it before another runtime is asked to.
        try:
            _ = subject.sampler
        except Exception as exc:
            self._fail("ran", exc)
        mark, begun = Watermark(), time.perf_counter()
        try:
            runner = open_runner(subject, self.cell, threads=self.probe.threads)
        except CannotHere as exc:
            self._skip(exc.message)
        except Exception as exc:
            self._fail("exported", exc)
        if not self.reference:
            self.result.checks["exported"] = OK
            self.result.figures["export_s"] = time.perf_counter() - begun
            self.result.figures["export_peak_bytes"] = float(mark.peak())
        self.result.figures["weights_bytes"] = float(runner.weights)
        return runner

    def _ran(self, subject: Subject, runner: Runner) -> tuple[Any, list[dict[str, Any]]]:
        try:
            fresh = [subject.sampler.batch(seed, 2 if subject.batches else 1) for seed in _FRESH]
            got = [runner(each) for each in fresh]
            expected = got if self.reference else [subject.run(each) for each in fresh]
        except Exception as exc:
            self._fail("ran", exc)
        self.result.checks["ran"] = OK
        return expected, got

    def _finite(self, got: list[dict[str, Any]]) -> None:
        if not all(finite(each) for each in got):
            self._wrong("finite", "not-finite", "NotFinite: an output has NaN or infinity")
        self.result.checks["finite"] = OK

    def _reacts(self, got: list[dict[str, Any]]) -> None:
        moved = difference(got[0], got[1], strict=False)
        self.result.figures["moved"] = moved
        if self.result.model_type in CONSTANT:
            self.result.checks["reacts"] = SKIPPED
            return
        if moved <= TOLERANCE:
            why = f"Constant: two different inputs differ by {moved:.1e} in the output"
            self._wrong("reacts", "constant", why)
        self.result.checks["reacts"] = OK

    def _agrees(self, runner: Runner, expected: Any, got: Any) -> None:
        if runner.chance:
            self.result.checks["agrees"] = SKIPPED
            self.result.reason = "it draws random numbers inside, so there is no one answer to agree with"
            return
        exact = self.cell.precision == "float32"
        worst, apart = 1.0, 0.0
        for ours, theirs in zip(expected, got, strict=True):
            shared = {name: value for name, value in ours.items() if name in theirs}
            if not shared:
                self._wrong("agrees", "disagrees", "NoOutputs: it gives none of the outputs that PyTorch gives")
            worst = min(worst, cosine(shared, theirs))
            apart = max(apart, difference(shared, theirs))
        self.result.figures |= {"cosine": worst, **({"difference": apart} if math.isfinite(apart) else {})}
        if exact:
            self._equal(expected, got)
        elif not worst >= LEAST_COSINE:
            why = f"Disagrees: the cosine with PyTorch in float32 is {worst:.4f}, and {LEAST_COSINE} is asked for"
            self._wrong("agrees", "disagrees", why)
        self.result.checks["agrees"] = OK

    def _equal(self, expected: Any, got: Any) -> None:
        try:
            for ours, theirs in zip(expected, got, strict=True):
                for name in ours.keys() & theirs.keys():
                    compare(name, ours[name], theirs[name])
        except Exception as exc:
            self._fail("agrees", exc)

    def _batched(self, subject: Subject, runner: Runner) -> None:
        if not subject.batches:
            self.result.checks["batched"] = SKIPPED
            self.result.reason = UNBATCHED[subject.model_type]
            return
        try:
            pair = subject.sampler.batch(_PAIR, 2)
            both = runner(pair)
            alone = [runner(part_of(pair, at, 2)) for at in (0, 1)]
        except Exception as exc:
            self._fail("batched", exc)
        apart = min(
            max(difference(rows_of(both, each, at, turns=turns), each) for at, each in enumerate(alone))
            for turns in (False, True)
        )
        allowed = TOLERANCE if self.cell.runtime == "torch" else _ROUNDING["float32"]
        if self.cell.precision != "float32":
            allowed = _ROUNDING_LOW
        if math.isfinite(apart):
            self.result.figures["apart"] = apart
        if not apart <= allowed and not runner.chance:
            why = f"BatchDiffers: an input in a batch of two gives another answer than alone, by {apart:.1e}"
            self._wrong("batched", "batch-differs", why)
        self.result.checks["batched"] = OK

    def _timed(self, subject: Subject, runner: Runner) -> None:
        if not self.probe.seconds:
            return
        figures, mark = self.result.figures, Watermark()
        one, measure = subject.sampler.batch(_LARGE, 1), gauge()
        figures |= time_passes(lambda: runner(one), seconds=self.probe.seconds, measure=measure)
        if subject.batches:
            try:
                many = subject.sampler.batch(_LARGE, BATCH)
                found = time_passes(lambda: runner(many), seconds=self.probe.seconds)
            except Exception as exc:
                # It runs, in batches too: that one of eight does not is worth a line, not the outcome.
                self.result.reason = f"a batch of {BATCH} does not run: {one_line(exc)}"
            else:
                figures |= {"batch": float(BATCH), "batch_ms": found["latency_ms"]}
                figures["throughput"] = 1000 * BATCH / found["latency_ms"]
        figures["peak_bytes"] = figures["weights_bytes"] + mark.peak()
        if self.cell.device.startswith("cuda"):
            figures["peak_bytes"] = float(require("torch").cuda.max_memory_allocated())

    # --- ends ----------------------------------------------------------------------------------------------------

    def _skip(self, why: str) -> NoReturn:
        self.result.outcome, self.result.reason = SKIPPED, why
        raise _Stop

    def _fail(self, check: str, exc: BaseException) -> NoReturn:
        result = self.result
        result.checks[check] = result.outcome = FAILED
        result.failure, result.reason, result.cause = classify(check, exc), one_line(exc), cause_of(exc)
        raise _Stop from exc

    def _wrong(self, check: str, failure: str, reason: str) -> NoReturn:
        result = self.result
        result.checks[check] = result.outcome = FAILED
        result.failure, result.reason = failure, reason
        raise _Stop
