"""Check every link of every Markdown page here: files, and headings within them. Asks nobody on the network.

python tools/check_links.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def pages() -> list[Path]:
    """The Markdown files of this checkout; not those of caches and environments, whose folders begin with a dot."""
    found = (path for path in ROOT.rglob("*.md") if not path.is_relative_to(ROOT / "build"))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(ROOT).parts))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings as hosts of Git repositories make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = 0
        while (unique := name if not number else f"{name}-{number}") in found:
            number += 1
        found.add(unique)
    return found


def problems(page: Path) -> list[str]:
    """What is wrong with the links of a page, in words."""
    found = []
    text = _CODE.sub("", _FENCE.sub("", page.read_text()))
    for link in (first or second for first, second in _LINK.findall(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            found.append(f"{link}: there is no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            found.append(f"{link}: {target.name} has no such heading")
    return found


def main() -> int:
    count = 0
    for page in pages():
        for problem in problems(page):
            print(f"{page.relative_to(ROOT)}: {problem}", file=sys.stderr)
            count += 1
    print(f"{len(pages())} pages, {count} broken links")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
