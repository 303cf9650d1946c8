"""The edge to the network. The seam is one method, `Transport.send`.

Everything above it sees bytes, a status and headers, and the error tree, so another transport can take the place of
this one without a word changed elsewhere. No HTTP client library is imported, only a parser, and that at the first
call.
"""

from ipfs_accelerate_py.transport.http import HttpTransport
from ipfs_accelerate_py.transport.seam import HttpRequest, HttpResponse, Limits, Transport

__all__ = ["HttpRequest", "HttpResponse", "HttpTransport", "Limits", "Transport"]
