"""Hugging Face's own client, which is put back as it was found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub import close_session, constants, utils

__all__ = ["online"]


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Requests may be made (to this machine: the guards see to that), and its shared connections are closed."""
    utils.build_hf_headers()  # type: ignore[attr-defined]  # looks something up once, where it is not offline
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()
    yield
    close_session()
