"""Tests see no key, no proxy, no model cache and no `.env` of whoever runs them."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: Whole names of variables that decide where calls go, what they carry, where models lie, or how output looks.
_PERSONAL = re.compile(
    r"""
    .*_(API_KEY|API_TOKEN|API_URL|API_ENDPOINT|BASE_URL|ACCESS_KEY|SECRET_KEY)(_\d+)?   # keys and addresses
    | (ANTHROPIC|AWS|GEMINI|GOOGLE|GROQ|LLVM|OLLAMA|OPEA|OPENAI|OVMS|S3|TEI|TGI)_.*
    | (HF|HUGGINGFACE|HUGGING_FACE|TRANSFORMERS|SENTENCE_TRANSFORMERS)_.*               # tokens and model caches
    | IPFS_(?!ACCELERATE_SPECS$).*
    | (HTTP|HTTPS|ALL|NO|FTP)_PROXY
    | XDG_.*
    | (NO_COLOR|FORCE_COLOR|CLICOLOR|CLICOLOR_FORCE|COLUMNS|LINES)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def clean(home: Path) -> None:
    """Take out of this process's environment what is personal, and move home to an empty folder."""
    for name in [name for name in os.environ if _PERSONAL.fullmatch(name)]:
        del os.environ[name]
    home.mkdir(parents=True, exist_ok=True)
    os.environ["HOME"] = os.environ["USERPROFILE"] = str(home)
    os.environ["HF_HUB_OFFLINE"] = "1"
