"""Imports of the optional extras of local models, made only when a model is really loaded."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

from ipfs_accelerate_py.errors import MissingExtra

__all__ = ["check_installed", "lacks", "require"]

#: Which extra brings a package; those not named are in ``local``.
_EXTRAS = {
    "openvino": "openvino",
    "openvino_genai": "openvino",
    "nncf": "openvino",
    "gguf": "llvm",
    "iree": "llvm",
    "xllamacpp": "llvm",
    "av": "video",
    "pandas": "tables",
}

# OpenMP's threads wait for one another by spinning, which beside any other busy process takes the time from the one
# that they wait for; docs/serving.md has what was seen of that, once and noisily. The library reads this once, when it
# is loaded with torch.
_PATIENCE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def require(module: str) -> Any:
    """The imported ``module``.

    Called inside functions only, so that importing the package costs nothing and works without the extra.

    Raises:
        MissingExtra: the module, or something that it needs, is not installed.
    """
    if module.partition(".")[0] in ("openvino", "nncf"):
        # Its converter reports its use to its makers from a thread of its own; where that package is missing it does
        # without. Nothing here tells anybody anything unasked.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    loaded = "torch" in sys.modules
    lent = {} if loaded else {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ.update(lent)
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise _missing(exc.name or module) from exc
    finally:
        for name in lent:
            os.environ.pop(name, None)


def check_installed(module: str) -> None:
    """Raise what `require` raises where ``module`` is not installed, without the seconds that importing it may take."""
    if module not in sys.modules and importlib.util.find_spec(module) is None:
        raise _missing(module)


def lacks(what: str, exc: ImportError) -> MissingExtra:
    """The error for ``what`` (the subject of a sentence), which a library of others does not do for want of a package.
    That library's words say which."""
    return MissingExtra(f"{what} needs a package that is not installed: {' '.join(str(exc).split())}")


def _missing(module: str) -> MissingExtra:
    extra = _EXTRAS.get(module.partition(".")[0], "local")
    return MissingExtra(
        f'local models need {module!r}, which is not installed: pip install "ipfs-accelerate-py[{extra}]"'
    )
