"""Servers that speak a provider's wire format over a real socket, slow, limited and broken as they are told to be.

For tests of anything that calls a provider::

    async with Simulator("openai") as sim:
        sim.script(Fault.status(429, retry_after=2), Fault.cut(after=10))
        client = openai.AsyncOpenAI(base_url=sim.url, api_key="any")
        ...
        assert sim.requests[-1].status == 200

Every answer says of itself that a simulator made it: in the header ``X-Simulator``, and OpenAI's in the body too
(``system_fingerprint`` is ``fp_simulator``).
"""

from . import answer_faults, stream_faults, wire_faults  # noqa: F401  # they register their faults
from .books import Served
from .faults import FAULTS, Fault, FaultHelp
from .server import Simulator
from .services import available
from .serving import SimulatorThread, serve
from .wire import Request, Settings

__all__ = [
    "FAULTS",
    "Fault",
    "FaultHelp",
    "Request",
    "Served",
    "Settings",
    "Simulator",
    "SimulatorThread",
    "available",
    "serve",
]
