"""Around every test: nothing leaves this machine, nothing personal is seen, nothing is left behind.

Each test is charged with the tasks, threads and sockets that are still there after its fixtures are gone. What fixtures
of a wider scope hold is looked at when that scope ends, against what there was before it began.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import hypothesis
import hypothesis.configuration
import pytest

from tests import virtual_time
from tests.guards import environment, forks, network, residue
from tests.guards.residue import Residue

virtual_time.install()

ROOT = Path(__file__).resolve().parent.parent
#: The environment of whoever runs the tests, before it was cleaned: pip has its settings and its cache there.
PERSONAL = dict(os.environ)
_WIDER = ("session", "package", "module", "class")

_scratch: tempfile.TemporaryDirectory[str]
_failed = pytest.StashKey[bool]()
_before: dict[str, Residue] = {}
_failures_in: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported that reads the environment, and before fixtures of the whole session."""
    global _scratch
    _scratch = tempfile.TemporaryDirectory(prefix="ipfs-accelerate-tests-")
    scratch = Path(_scratch.name)
    environment.clean(scratch / "home")
    # promtool, where `make` has put it
    os.environ["PATH"] = os.pathsep.join([str(ROOT / ".tools"), os.environ.get("PATH", os.defpath)])
    (scratch / "work").mkdir()
    network.install(scratch / "network.log")
    residue.watch_loops()
    forks.install()
    hypothesis.configuration.set_hypothesis_home_dir(ROOT / ".hypothesis")
    # How long an example takes says more about the machine's other work than about the code.
    hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
    hypothesis.settings.load_profile("project")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return virtual_time.factories(item)


def pytest_unconfigure(config: pytest.Config) -> None:
    _scratch.cleanup()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Run the tests in an empty folder: a `.env` is looked for in the working directory and above it.

    Not from the beginning: paths on pytest's command line are relative to where it was started.
    """
    started_in = Path.cwd()
    gc.collect()
    residue.leave_out()
    os.chdir(Path(_scratch.name) / "work")
    try:
        return (yield)
    finally:
        os.chdir(started_in)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    now = Residue.now()
    _before["function"] = now
    _before.setdefault("session", now)
    _before.setdefault(f"module {item.path}", now)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    yield
    _check(item, nextitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
        _failures_in.update({f"module {item.path}", "session"})
    return report


def _check(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Fail the test for what it, or the scope that ends with it, has left behind."""
    wrong = [f"tried to leave this machine: {offence}" for offence in network.offences()]
    tasks = residue.unfinished_tasks()
    if not item.stash.get(_failed, False):  # a test that failed half-way may leave what it was about to clear up
        wrong += [f"left a {task}" for task in tasks]
        if _widest_scope(item) == "function":
            wrong += [f"left a {left}" for left in _before["function"].left_since()]
    if (nextitem is None or nextitem.path != item.path) and not wrong:
        wrong += _check_module(item)
    if nextitem is None and "session" not in _failures_in and not wrong:
        wrong += [f"(or another test of this run) left a {left}" for left in _before["session"].left_since()]
    if wrong:
        pytest.fail("the test " + "\nthe test ".join(wrong), pytrace=False)


def _check_module(item: pytest.Item) -> list[str]:
    """What the tests of ``item``'s file have left, now that the last of them is over."""
    key = f"module {item.path}"
    if key in _failures_in:
        return []
    wrong = [f"(or another test of this file) did not close: {left}" for left in residue.thrown_away()]
    held = {_widest_scope(each) for each in item.session.items if each.path == item.path}
    if not held & {"session", "package"}:
        wrong += [f"(or another test of this file) left a {left}" for left in _before[key].left_since()]
    return wrong


def _widest_scope(item: pytest.Item) -> str:
    """The widest scope among our own fixtures that the test uses, or of its event loop."""
    names = getattr(item, "fixturenames", ())
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    # Those of pytest and its plugins (`tmp_path_factory`, say) hold nothing that is looked at here.
    scopes = {
        definition.scope
        for name in names
        for definition in definitions.get(name, ())
        if getattr(definition.func, "__module__", "").startswith("tests.")
    }
    scopes.update(scope for scope in _WIDER if f"_{scope}_scoped_runner" in names)
    return next((scope for scope in _WIDER if scope in scopes), "function")
