"""TGI's and TEI's OpenAPI descriptions, where they are at hand (see `tests/simulator/test_simulator_spec.py`)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from tests.simulator.test_simulator_spec import _FOLDERS, Spec

__all__ = ["arguments_for_parameters", "description"]


@cache
def _spec(service: str) -> Spec | None:
    for folder in _FOLDERS:
        path = folder / f"{service}.openapi.json"
        if path.is_file():
            return Spec(json.loads(path.read_text(encoding="utf-8"))["components"]["schemas"])
    return None


def description(service: str) -> Spec:
    """The description of ``tgi`` or ``tei``; the test that asks is skipped where it is not at hand."""
    spec = _spec(service)
    if spec is None:
        pytest.skip(f"{service}.openapi.json not found: set IPFS_ACCELERATE_SPECS to the folder that holds it")
    return spec


def arguments_for_parameters(body: dict[str, Any]) -> dict[str, Any]:
    """TGI takes a tool's ``parameters`` under that name, and describes them under another (``arguments``)."""
    if not body.get("tools"):
        return body
    tools = [
        {**tool, "function": {"arguments": tool["function"].get("parameters"), **tool["function"]}}
        for tool in body["tools"]
    ]
    return {**body, "tools": tools}
