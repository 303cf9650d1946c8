"""The older API and the command line against a real server that is not ours, as its user would start with them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ipfs_accelerate_py.api_backends import llvm

from .processes import PROGRAM
from .tiny_model import CAPITAL_ANSWER, CAPITAL_QUESTION, MODEL_ID, TONGUES_ANSWER, TONGUES_QUESTION, user

pytestmark = pytest.mark.realserver


def test_the_older_api_needs_no_key_for_a_server_of_ones_own(upstream: str) -> None:
    with llvm(metadata={"llvm_endpoint": upstream}) as api:
        assert [model["id"] for model in api.list_models()] == [MODEL_ID]
        assert api.chat(MODEL_ID, [user(CAPITAL_QUESTION)])["text"] == CAPITAL_ANSWER
        pieces = [piece["text"] for piece in api.stream_chat(MODEL_ID, [user(TONGUES_QUESTION)])]
        assert "".join(pieces) == TONGUES_ANSWER
        assert api.create_llvm_endpoint_handler()(CAPITAL_QUESTION)["text"] == CAPITAL_ANSWER


def _run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=home,
        # A home of its own: neither a .env nor a credentials file of the developer's has a say here.
        env={**os.environ, "HOME": str(home)},
        check=False,
    )


def test_the_command_line_asks_by_url_and_model(upstream: str, tmp_path: Path) -> None:
    """The name has a slash, and what stands before it is no backend."""
    asked = _run("chat", "--base-url", upstream, "-m", MODEL_ID, TONGUES_QUESTION, home=tmp_path)
    assert (asked.returncode, asked.stdout) == (0, TONGUES_ANSWER + "\n"), asked.stderr
    refused = _run("chat", "--base-url", upstream, "-m", "nobody/nothing", TONGUES_QUESTION, home=tmp_path)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert "pinned to 'tests/tiny-chat'" in refused.stderr


def test_the_command_line_lists_the_models(upstream: str, tmp_path: Path) -> None:
    listed = _run("models", "--base-url", upstream, "--json", home=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert MODEL_ID in [model["id"] for model in json.loads(listed.stdout)["models"]]
