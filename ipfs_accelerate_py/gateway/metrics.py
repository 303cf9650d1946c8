"""What a gateway counts. On the way of a request there are plain additions and nothing else.

Names, labels and text are made when somebody asks for them (``metrics_page``). Labels come from this gateway's own
tables, never unbounded from requests.
"""

from __future__ import annotations

from bisect import bisect_left

from ipfs_accelerate_py.errors import BudgetExceeded, LimitExceeded
from ipfs_accelerate_py.pipeline.usage import Histogram
from ipfs_accelerate_py.records import CallRecord

__all__ = ["NO_MODEL", "OVERHEAD_BUCKETS", "GatewayMetrics", "Overheads"]

#: Label of requests that were refused before they were known to be for a model.
NO_MODEL = ""
OTHER = "(other)"
#: Models kept apart; ``backend/model`` names come from clients.
MOST_MODELS = 512
#: Upper bounds of the gateway's own time, in seconds.
OVERHEAD_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


class Overheads(Histogram):
    """A histogram of shorter durations."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = [0] * (len(OVERHEAD_BUCKETS) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(OVERHEAD_BUCKETS, seconds)] += 1
        self.count += 1
        self.total += seconds


class GatewayMetrics:
    """The counters. ``route`` is a path of ours, ``model`` a name that was found, ``status`` the HTTP status.

    A status of 499 (nginx's word) is a client that left before its answer was complete.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.first_contents: dict[tuple[str, str], Histogram] = {}
        self.in_flight = 0
        self.streams = 0
        self.stream_errors = 0
        self.disconnects = 0
        #: Refused by the HTTP layer before there was a request, by status.
        self.refused: dict[int, int] = {}
        #: By route: the gateway's own time, without that of the service and of the queue.
        self.overheads: dict[str, Overheads] = {}
        #: By alias and the kind of error: calls that went on to another target.
        self.fallbacks: dict[tuple[str, str], int] = {}
        #: By alias and outcome: streams that broke after their first content.
        self.mid_streams: dict[tuple[str, str], int] = {}
        #: By model: answers from an identical call in flight, and answers whose price nobody knows.
        self.shared: dict[str, int] = {}
        self.unpriced: dict[str, int] = {}
        #: By model, tenant and key: US dollars.
        self.costs: dict[tuple[str, str, str], float] = {}
        #: By where the answer came from: US dollars that were not spent.
        self.saved: dict[str, float] = {}
        #: By whose limit it was, and what was limited.
        self.limited: dict[tuple[str, str], int] = {}
        self._models: set[str] = set()

    def done(self, route: str, model: str, status: int, seconds: float) -> None:
        """A request has been answered, or its client has left (499)."""
        model = self._bounded(model)
        key = (route, model, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.durations.get((route, model))
        if histogram is None:
            histogram = self.durations[route, model] = Histogram()
        histogram.add(seconds)
        if status == 499:
            self.disconnects += 1

    def first_content(self, route: str, model: str, seconds: float) -> None:
        """A stream's first content is here."""
        model = self._bounded(model)
        histogram = self.first_contents.get((route, model))
        if histogram is None:
            histogram = self.first_contents[route, model] = Histogram()
        histogram.add(seconds)

    def overhead(self, route: str, seconds: float) -> None:
        """The gateway's own share of a request's time."""
        histogram = self.overheads.get(route)
        if histogram is None:
            histogram = self.overheads[route] = Overheads()
        histogram.add(max(0.0, seconds))

    def fell_back(self, alias: str, reason: str) -> None:
        """A call has gone on to another target."""
        self.fallbacks[alias, reason] = self.fallbacks.get((alias, reason), 0) + 1

    def broke(self, alias: str, outcome: str) -> None:
        """A stream of an alias has broken after its first content, and was "continued" or has "failed"."""
        self.mid_streams[alias, outcome] = self.mid_streams.get((alias, outcome), 0) + 1

    def over_limit(self, error: LimitExceeded | BudgetExceeded) -> None:
        """A call was refused for a limit or budget of ours."""
        key = (error.scope, error.limit)
        self.limited[key] = self.limited.get(key, 0) + 1

    def observe(self, record: CallRecord) -> None:
        """A call is over: what it cost, or what was saved."""
        if record.outcome != "success":
            return
        model = self._bounded(record.alias)
        if record.cache:
            if record.cache == "shared":
                self.shared[model] = self.shared.get(model, 0) + 1
            self.saved[record.cache] = self.saved.get(record.cache, 0.0) + record.saved
        elif record.cost is None:
            self.unpriced[model] = self.unpriced.get(model, 0) + 1
        else:
            key = (model, record.tenant, record.caller)
            if key not in self.costs and len(self.costs) >= MOST_MODELS:
                key = (OTHER, OTHER, OTHER)
            self.costs[key] = self.costs.get(key, 0.0) + record.cost.total

    def refuse(self, status: int) -> None:
        """The HTTP layer has refused what was no proper request."""
        self.refused[status] = self.refused.get(status, 0) + 1

    def _bounded(self, model: str) -> str:
        if model in self._models:
            return model
        if len(self._models) >= MOST_MODELS:
            return OTHER
        self._models.add(model)
        return model
