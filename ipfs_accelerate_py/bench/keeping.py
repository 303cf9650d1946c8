"""The files of a session: JSON always, Markdown beside it, plots and a page where they can be made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ipfs_accelerate_py.errors import MissingExtra

from .figures import Session
from .tables import markdown

__all__ = ["write_all"]


def write_all(session: Session, prefix: Path, warn: Callable[[str], object]) -> list[Path]:
    """Write ``prefix`` with ``.json``, ``.md``, ``.png`` and ``.html``; gives those that were written.

    Args:
        warn: hears what is missing for one of them.
    """
    written = [session.write(prefix.with_name(prefix.name + ".json"))]
    page = prefix.with_name(prefix.name + ".md")
    page.write_text(markdown(session), encoding="utf-8")
    written.append(page)
    if not session.measurements:
        warn("there are no figures to draw")
        return written
    from .page import write_page
    from .plots import save

    for make, ending in ((save, ".png"), (write_page, ".html")):
        try:
            written.append(make(session, prefix.with_name(prefix.name + ending)))
        except MissingExtra as error:
            warn(f"no {prefix.name}{ending}: {error.message}")
    return written
