"""The process that runs modules: a line of JSON in, a forked child, a line of JSON out.

It imports what every module needs once, so that a module costs a fork instead of seconds of imports. It starts no
thread and computes nothing itself, so that what is forked is whole.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import MissingExtra

from .generating import variable_of
from .results import FAILED, OK, SKIPPED, Verdict

__all__ = ["main"]

#: What small checkpoints of a task need to say anything: labels of a classifier.
_LABELS = {"zero-shot-classification": ("contradiction", "neutral", "entailment"), "text-ranking": ("score",)}
_EMPTY = "[pytest]\n"
#: What nearly every module comes to import.
_SHARED = (
    *("PIL.Image", "scipy.optimize", "transformers.generation.utils", "transformers.modeling_utils"),
    *("transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert"),
    *(
        "transformers.models.llama.modeling_llama",
        "transformers.processing_utils",
        "transformers.tokenization_utils_tokenizers",
    ),
    *("ipfs_accelerate_py.sync", "ipfs_accelerate_py.runtimes.serving.servable", "ipfs_accelerate_py.backends.local"),
)


def main() -> int:
    """Answer questions until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    # Whatever a module or a library prints is not an answer.
    null = os.open(os.devnull, os.O_RDWR)
    for each in (1, 2):
        os.dup2(null, each)
    warm = False
    for line in sys.stdin:
        question = json.loads(line)
        if question["mode"] != "collect" and not warm:
            _warm()
            warm = True
        answers.write(json.dumps(_isolated(question)) + "\n")
        answers.flush()
    return 0


def _warm() -> None:
    with warnings.catch_warnings(), contextlib.suppress(MissingExtra):
        warnings.simplefilter("ignore")
        import pytest  # noqa: F401  # for the processes that are forked from this one

        from ipfs_accelerate_py.runtimes.extras import require

        require("torch").set_num_threads(1)
        require("transformers").logging.set_verbosity_error()
        for each in _SHARED:
            require(each)
        # Transformers makes this table at the first load and keeps it.
        require("transformers.conversion_mapping").get_checkpoint_conversion_mapping("bert")
    gc.collect()
    gc.freeze()  # what is here before a fork is not looked through after it


def _isolated(question: dict[str, Any]) -> dict[str, Any]:
    """What a child says of a module, or why it said nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setpgid(0, 0)
        status = 1
        try:
            found = _judge(question)
            with os.fdopen(writer, "w") as out:
                json.dump(found, out)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    said, late = _read(reader, question["timeout"])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # with what it started
    _, status = os.waitpid(child, 0)
    if late:
        reason = f"no verdict in {question['timeout']:.0f} s"
    elif not said:
        reason = f"its process ended with status {os.waitstatus_to_exitcode(status)}"
    else:
        found = json.loads(said)
        return dict(found)
    return {"outcome": FAILED, "stage": "run", "reason": reason}


def _read(reader: int, timeout: float) -> tuple[str, bool]:
    """All that is written into a pipe, and whether that took too long."""
    until = time.monotonic() + timeout
    found = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe, selectors.DefaultSelector() as waiting:
        waiting.register(pipe, selectors.EVENT_READ)
        while True:
            if not waiting.select(max(0.0, until - time.monotonic())):
                return "", True
            if not (part := pipe.read(1 << 16)):
                return found.decode(), False
            found += part


def _judge(question: dict[str, Any]) -> dict[str, Any]:
    verdict = Verdict(question["module"], question["type"])
    try:
        if question["mode"] == "tiny" and not _tiny(verdict, Path(question["place"])):
            pass
        else:
            _pytest(verdict, question)
    except BaseException as error:
        verdict.outcome, verdict.stage = FAILED, verdict.stage or "run"
        verdict.reason = f"{_line(error)} ({traceback.extract_tb(error.__traceback__)[-1].name})"
    plain = verdict.plain()
    return {name: plain[name] for name in ("outcome", "reason", "stage", "tests", "outcomes", "reasons")}


def _tiny(verdict: Verdict, place: Path) -> bool:
    """Make a small checkpoint and say to the module where it is; whether it could be made."""
    from ipfs_accelerate_py.runtimes.families.catalog import family_of, own_auto
    from ipfs_accelerate_py.runtimes.families.overrides import SKIPPED_TYPES
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    if (why := SKIPPED_TYPES.get(verdict.type)) is not None:
        verdict.outcome, verdict.stage, verdict.reason = SKIPPED, "tiny", why
        return False
    try:
        family = family_of(verdict.type)
        task = family.tasks[0] if family.tasks else ""
        auto = family.auto(task) if task else own_auto(verdict.type)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = write_tiny(verdict.type, place / "checkpoint", auto=auto, labels=_LABELS.get(task, ()))
    except Exception as error:  # whatever it raises, there is no checkpoint to test with
        verdict.outcome, verdict.stage = SKIPPED, "tiny"
        verdict.reason = f"no small checkpoint can be made: {_line(error)}"
        return False
    os.environ[variable_of(verdict.type)] = str(folder)
    return True


class _Listener:
    """A plugin of pytest that writes down what comes of each test."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.broken: list[str] = []

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.broken.append(_last(report.longreprtext))

    def pytest_collection_finish(self, session: Any) -> None:
        self.verdict.tests = len(session.items)

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.rpartition("::")[2]
        if report.skipped:
            self._note(name, SKIPPED, report.longrepr[2].removeprefix("Skipped: "))
        elif report.failed:
            self._note(name, FAILED, _last(report.longreprtext))
        elif report.when == "call":
            self.verdict.outcomes.setdefault(name, OK)

    def _note(self, name: str, outcome: str, reason: str) -> None:
        self.verdict.outcomes[name] = outcome
        self.verdict.reasons.setdefault(name, reason[:600])


def _pytest(verdict: Verdict, question: dict[str, Any]) -> None:
    try:
        import pytest
    except ImportError as error:
        raise MissingExtra("verifying modules needs pytest: pip install 'ipfs-accelerate-py[tests]'") from error
    place = Path(question["place"])
    (place / "pytest.ini").write_text(_EMPTY, encoding="utf-8")  # not the settings of wherever this runs
    os.environ.pop("PYTEST_ADDOPTS", None)
    module = question["module"]
    told = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", str(place / "pytest.ini"), "--rootdir", str(place)]
    told += ["--basetemp", str(place / "tmp"), "--import-mode", "importlib"]
    listener = _Listener(verdict)
    verdict.stage = "collect"
    pytest.main([*told, *(["--collect-only"] if question["mode"] == "collect" else []), module], plugins=[listener])
    if listener.broken:
        verdict.outcome, verdict.reason = FAILED, listener.broken[0]
    elif not verdict.tests:
        verdict.outcome, verdict.reason = FAILED, "pytest finds no tests in it"
    elif question["mode"] == "collect":
        verdict.stage = "collected"
    else:
        verdict.stage = "ran"
        verdict.conclude()


def _last(text: str) -> str:
    """The error's own line of a report: the first that says something of its last block of ``E`` lines, since what the
    error came of is told before it; with the next one where it only announces that."""
    blocks: list[list[str]] = [[]]
    for each in text.splitlines():
        if each.startswith("E "):
            blocks[-1].append(each[1:].strip())
        elif blocks[-1]:
            blocks.append([])
    told = next((each for each in reversed(blocks) if any(each)), [text.strip().rpartition("\n")[2]])
    said = [each for each in told if each] or [""]
    return " ".join(said[: 2 if said[0].endswith(":") else 1])[:600]


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:600]


if __name__ == "__main__":
    sys.exit(main())
