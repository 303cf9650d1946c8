"""Importing costs next to nothing: what is heavy, and what belongs to an extra, comes when it is first used."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import pytest

import ipfs_accelerate_py

#: Not before they are needed, even where they are installed. The first row is what an import pays most for.
HEAVY = [
    *(
        "aiohttp",
        "uvloop",
        "yarl",
        "multidict",
        "click",
        "rich",
        "yaml",
        "dotenv",
        "urllib.request",
        "http.client",
    ),
    *("prometheus_client", "starlette", "uvicorn", "httptools"),
    *("numpy", "safetensors", "tokenizers", "torch", "transformers"),
]

#: Those that machine learning brings along, and that no module of ours may ask for when it is imported.
LEARNING = ["numpy", "safetensors", "tokenizers", "torch", "transformers"]


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running ``code`` and not before."""
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nfor name in set(sys.modules) - before: print(name)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=plain(), capture_output=True, text=True, timeout=300, check=True
    )
    return set(done.stdout.split())


def plain() -> dict[str, str]:
    """Without the guard that tests give to their children: it is loaded before anything else, and would count."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.parametrize(
    "code",
    [
        "import ipfs_accelerate_py",
        "from ipfs_accelerate_py import Client",
        "from ipfs_accelerate_py import AsyncClient",
        "from ipfs_accelerate_py import AsyncClient; AsyncClient('openai', api_key='k')",
        "from ipfs_accelerate_py.api_backends import openai_api",
        "import ipfs_accelerate_py.cli",
    ],
)
def test_heavy_modules_wait_for_their_first_use(code: str) -> None:
    assert sorted(loaded_by(code) & set(HEAVY)) == []


def test_no_module_of_ours_loads_machine_learning_when_imported() -> None:
    modules = [
        module.name
        for module in pkgutil.walk_packages(ipfs_accelerate_py.__path__, "ipfs_accelerate_py.")
        if not module.name.endswith("__main__")
    ]
    assert len(modules) > 50
    loaded = loaded_by("\n".join(f"import {name}" for name in modules))
    assert sorted(loaded & set(LEARNING)) == []


def test_every_public_name_is_there() -> None:
    for name in ipfs_accelerate_py.__all__:
        assert getattr(ipfs_accelerate_py, name) is not None
    assert set(ipfs_accelerate_py.__all__) <= set(dir(ipfs_accelerate_py))


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Cleint'"):
        getattr(ipfs_accelerate_py, "Cleint")  # noqa: B009  # mypy knows, too


def test_a_gateway_without_the_sections_does_not_wait_for_what_they_switch_on() -> None:
    found = loaded_by(
        "from ipfs_accelerate_py.gateway.app import GatewayApp\n"
        "from ipfs_accelerate_py.gateway.config import GatewayConfig\n"
        "GatewayApp(GatewayConfig(environment=False, local=False)).front.log_calls(None)"
    )
    unasked = (
        *("router.core", "ledger", "prices", "pipeline.cache", "pipeline.batching", "pipeline.hedging"),
        *("pipeline.singleflight", "pipeline.limits", "pipeline.budgets", "telemetry.alerts", "telemetry.tracing"),
    )
    assert [name for name in unasked if f"ipfs_accelerate_py.{name}" in found] == []
