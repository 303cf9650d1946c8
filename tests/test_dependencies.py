"""pyproject.toml asks for what each part of the package imports, and for nothing that nobody imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PACKAGE = ROOT / "ipfs_accelerate_py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Rooms and files whose imports an extra brings.
EXTRAS = {
    "gateway": "gateway",
    "runtimes": "local",
    "backends/s3": "s3",
    "prices": "prices",
    "ledger": "postgres",
    "matrix/export.py": "duckdb",
    "bench/plots.py": "plots",
    "checkpoint_tests": "tests",
    "telemetry": "otel",
    "pipeline/cache/redis_store.py": "redis",
    "runtimes/vector_index.py": "semantic",
}
#: Imported under another name than the distribution's, or as a part of another's interface.
BROUGHT_BY = {"dotenv": "python-dotenv", "yaml": "pyyaml", "pil": "pillow", "iree": "iree-base-runtime"}
#: Imported by the runtimes, and brought by an extra of its own.
OWN_EXTRAS = {
    "openvino": "openvino",
    "nncf": "openvino",
    "gguf": "llvm",
    "iree": "llvm",
    "xllamacpp": "llvm",
    "av": "video",
    "pandas": "tables",
}
#: Parts of one distribution that another of the same extra brings the interface of.
SAME_INTERFACE = {"iree-base-compiler": "iree-base-runtime"}
#: One namespace, several distributions.
_OPENTELEMETRY = {"sdk": "opentelemetry-sdk", "exporter": "opentelemetry-exporter-otlp-proto-http"}


def asked_for(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}


def imported(file: Path) -> Iterator[tuple[str | None, str]]:
    """By which extra, and which top-level modules of other people a file imports, wherever in it.

    `require` imports what belongs to ``[local]``, and says so where it is missing, whoever calls it.
    """
    parts = file.relative_to(PACKAGE).parts
    room = EXTRAS.get("/".join(parts)) or EXTRAS.get("/".join(parts[:2]), EXTRAS.get(parts[0]))
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        extra = room
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
            names = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
            extra = "otel" if room == "otel" else "local"
        for name in names:
            top = name.partition(".")[0]
            if top != PACKAGE.name and top not in sys.stdlib_module_names:
                if top == "opentelemetry":
                    yield extra, _OPENTELEMETRY.get(name.split(".")[1:2][0] if "." in name else "", f"{top}-api")
                    continue
                own = OWN_EXTRAS.get(top, extra) if extra == "local" else extra
                yield own, BROUGHT_BY.get(top.lower(), top).lower().replace("_", "-")


def by_extra() -> dict[str | None, set[str]]:
    extras = {*EXTRAS.values(), *OWN_EXTRAS.values()}
    found: dict[str | None, set[str]] = {None: set(), **{extra: set() for extra in extras}}
    for file in PACKAGE.rglob("*.py"):
        for extra, name in imported(file):
            found[extra].add(name)
    return found


def test_what_is_imported_is_asked_for() -> None:
    base = asked_for(PROJECT["dependencies"])
    for extra, names in by_extra().items():
        known = base if extra is None else base | asked_for(PROJECT["optional-dependencies"][extra])
        assert names - known == set(), f"imported, and not asked for by {extra or 'the base'}"


def test_what_is_asked_for_is_imported() -> None:
    found = by_extra()
    everything = set().union(*found.values())
    assert asked_for(PROJECT["dependencies"]) - everything == set()
    for extra in {*EXTRAS.values(), *OWN_EXTRAS.values()}:
        wanted = {SAME_INTERFACE.get(each, each) for each in asked_for(PROJECT["optional-dependencies"][extra])}
        assert wanted - found[extra] == set(), f"asked for by {extra}"
