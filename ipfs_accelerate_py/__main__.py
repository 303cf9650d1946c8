"""``python -m ipfs_accelerate_py``: the command line, where the ``ipfs-accelerate`` script is not on the path."""

from __future__ import annotations

import sys

from ipfs_accelerate_py.cli import main

if __name__ == "__main__":
    sys.exit(main())
