"""A program that has calls written down without end, and says how many: ``python -m tests.ledger.writing WHERE``.

Each line of its output is the number of records handed over so far, written when they have been.
"""

from __future__ import annotations

import os
import sys
import time

from ipfs_accelerate_py.ledger import Ledger
from tests.ledger.support import record

if __name__ == "__main__":
    ledger = Ledger(sys.argv[1])
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 10**9
    number = 0
    while number < most:
        number += 1
        ledger.observe(record(request_id=f"req_{os.getpid()}_{number}", started=time.time()))
        os.write(1, b"%d %f\n" % (number, time.monotonic()))
        if most > 10**6:
            time.sleep(0.001)
    # No close: the ledger writes what is left when the program ends.
