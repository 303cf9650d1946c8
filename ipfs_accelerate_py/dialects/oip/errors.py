"""Errors of model servers (OpenVINO Model Server, Triton, MLServer, TensorFlow Serving), mapped in one place.

All of them answer ``{"error": "text"}`` (MLServer's own checks: FastAPI's ``{"detail": ...}``) without a code, so
beside the status the words are all the evidence there is. Sources: the table of statuses in OpenVINO Model Server's
``status.cpp``, and what the servers are seen to send.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ipfs_accelerate_py.dialects.openai.errors import error_from_status
from ipfs_accelerate_py.errors import BackendError, InvalidRequest, ModelNotFound, ServerError

__all__ = ["error", "refined"]

# "Model with requested name is not found", "Mediapipe graph definition with requested name is not found", MLServer's
# "Model x not found", Triton's "Request for unknown model: 'x' is not found" (which has the status 400).
_UNKNOWN = re.compile(
    r"(model|definition|pipeline|servable)\b.{0,300}\b(not found|is retired|not loaded anymore)|unknown model",
    re.I | re.S,
)
# "Model with requested version is not loaded yet" (503, and 404 by older versions), "model 'x' is not ready".
_NOT_YET = re.compile(r"not loaded yet|not (yet )?ready|no available versions", re.I)


def error(status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
    """The error of an answer whose status is not 2xx."""
    return refined(error_from_status(status, headers, body))


def refined(found: BackendError) -> BackendError:
    """What the words tell beyond the status: that the model is not there, or that it is not ready yet.

    A model that is being loaded is worth another try, and is no outage of the server that loads it.
    """
    kind = type(found)
    words = found.message.removeprefix(f"the upstream failed with HTTP {found.status}: ")
    if kind in (InvalidRequest, ModelNotFound, ServerError) and _NOT_YET.search(found.message):
        made: BackendError = ServerError(words)
        made.outage = False
    elif kind in (InvalidRequest, ServerError) and found.status in (400, 404, 500) and _UNKNOWN.search(found.message):
        made = ModelNotFound(words)
    else:
        return found
    code = made.code
    made.__dict__.update({name: value for name, value in found.__dict__.items() if name not in ("message", "outage")})
    if "code" not in found.__dict__:
        made.code = code
    return made
