"""The command line, ``ipfs-accelerate``. Thin: it calls the clients, the gateway and the simulator, and prints.

Importing this package loads nothing else: click, rich and all that a command needs come with the command that needs
them, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `ipfs_accelerate_py.cli.failures`). The script's entry point.

    Args:
        argv: the arguments without the program's name; those of this process by default.
    """
    try:
        from ipfs_accelerate_py.cli.app import app
        from ipfs_accelerate_py.cli.running import run

        return run(app, argv)
    except KeyboardInterrupt:  # while modules are still being imported
        return 130
