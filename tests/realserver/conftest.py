"""A real OpenAI-compatible server that is not ours, `transformers serve`, with a tiny model made on the spot."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import tiny_model
from .processes import PROGRAM, healthy, running


def _environment(hf_home: Path) -> dict[str, str]:
    """Nothing may leave this machine; and for so small a model one thread is the fastest. None of its code is ours, so
    coverage, which would take half of its start, does not follow it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**own, "HF_HOME": str(hf_home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def hf_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face cache that holds the tiny model and nothing else."""
    home = tmp_path_factory.mktemp("huggingface")
    made = subprocess.run(
        [sys.executable, tiny_model.__file__, str(home)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        env=_environment(home),
        check=False,
    )
    if made.returncode:
        pytest.fail(f"the tiny model could not be made:\n{made.stdout[-2000:]}\n{made.stderr[-4000:]}")
    return home


@pytest.fixture(scope="session")
def upstream(hf_home: Path) -> Iterator[str]:
    """The base URL, ``/v1`` included, of a `transformers serve` with the tiny model."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", tiny_model.MODEL_ID]
    # Port 0 leaves the choice to the kernel, and the server says which port it got: no other process can take it first.
    command += ["--host", "127.0.0.1", "--port", "0", "--device", "cpu"]

    def ready(output: str) -> str | None:
        announced = re.search(r"running on (http://127\.0\.0\.1:\d+)", output)
        return f"{announced[1]}/v1" if announced and healthy(f"{announced[1]}/health") else None

    with running(command, log=hf_home / "server.log", env=_environment(hf_home), ready=ready, seconds=1200) as url:
        yield url


@pytest.fixture(scope="session")
def gateway(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL, ``/v1`` included, of our gateway with the alias ``tiny`` for the model of ``upstream``."""
    folder = tmp_path_factory.mktemp("gateway")
    config = folder / "config.yaml"
    config.write_text(
        "model_list:\n"
        "  - model_name: tiny\n"
        "    litellm_params:\n"
        f"      model: openai/{tiny_model.MODEL_ID}\n"
        f"      api_base: {upstream}\n"
        "      api_key: unused\n"
        # Failures are to be seen, not waited for.
        "      max_retries: 0\n"
    )
    command = [PROGRAM, "serve", "--config", str(config), "--host", "127.0.0.1", "--port", "0"]

    def ready(output: str) -> str | None:
        announced = re.search(r"on (http://127\.0\.0\.1:\d+)/v1", output)
        return f"{announced[1]}/v1" if announced and healthy(f"{announced[1]}/health") else None

    with running(command, log=folder / "gateway.log", env=dict(os.environ), ready=ready, seconds=120) as url:
        yield url
