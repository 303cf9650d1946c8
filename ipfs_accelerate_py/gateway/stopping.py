"""Two errors that are this gateway's own: it stops, or it failed."""

from __future__ import annotations

from ipfs_accelerate_py.errors import AccelerateError, AdmissionError

__all__ = ["internal_error", "stopping"]


def stopping() -> AccelerateError:
    """What is told to those whose answer was not complete when the gateway had to stop."""
    return AdmissionError(
        "This gateway is stopping and could not finish the answer in time.", code="shutting_down", retry_after=1.0
    )


def internal_error(request_id: str) -> AccelerateError:
    """What is told of a failure that nobody foresaw; what it was is in the log and nowhere else."""
    return AccelerateError(
        f"The gateway failed in a way that nobody foresaw; its log says more (request {request_id}).",
        code="internal_error",
    )
