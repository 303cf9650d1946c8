"""The edge to the network. The seam is one method, `Transport.send`.

Everything above it sees bytes, a status and headers, and the error tree, so a leaner transport can take the place of
the one on aiohttp without a word changed elsewhere. This package is the only one that imports an HTTP client library,
and it does so at the first call.
"""

from ipfs_accelerate_py.transport.aiohttp_transport import AiohttpTransport
from ipfs_accelerate_py.transport.seam import HttpRequest, HttpResponse, Limits, Transport

__all__ = ["AiohttpTransport", "HttpRequest", "HttpResponse", "Limits", "Transport"]
