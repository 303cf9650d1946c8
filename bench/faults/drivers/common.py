"""What every driver shares: it reads one line of JSON that describes the cells, and then answers a line for each call.

Drivers are scripts of their own because the contestants live in different virtual environments.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["OUT", "failure", "main"]

#: Answers go here; whatever the libraries print goes to standard error.
OUT = sys.stdout
sys.stdout = sys.stderr

Ask = Callable[[str, bool, float], dict[str, Any]]


def failure(error: BaseException) -> dict[str, Any]:
    """An error as its caller can see it."""
    response = getattr(error, "response", None)
    retry_after = getattr(error, "retry_after", None)
    if retry_after is None and response is not None:
        retry_after = response.headers.get("retry-after")
    status = getattr(error, "status", None) or getattr(error, "status_code", None)
    return {
        "error": type(error).__name__,
        "message": f"{getattr(error, 'code', '') or ''} {error}"[:600],
        "status": status if isinstance(status, int) else None,
        "retry_after": None if retry_after is None else float(retry_after),
    }


def main(make: Callable[[dict[str, Any]], Ask]) -> None:
    """Answer until the input ends. ``make`` gets the set-up, and gives what asks: cell, stream, deadline."""
    ask = make(json.loads(sys.stdin.readline()))
    print("ready", file=OUT, flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        began = time.monotonic()
        try:
            seen = ask(wanted["cell"], wanted["stream"], wanted["deadline"])
        except Exception as error:  # every kind of failure is what this is about
            seen = failure(error)
        seen["seconds"] = time.monotonic() - began
        print(json.dumps(seen), file=OUT, flush=True)
