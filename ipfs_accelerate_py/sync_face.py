"""What synchronous clients and routers share: the verbs for ordinary code, and any number of threads."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ipfs_accelerate_py import portal as portals
from ipfs_accelerate_py.features import Features
from ipfs_accelerate_py.live import LiveSettings
from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.pump import PumpedStream
from ipfs_accelerate_py.reply_stream import ReplyStream
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.sync_batches import SyncBatchVerbs
from ipfs_accelerate_py.types import Chunk, Reply, Usage
from ipfs_accelerate_py.verbs import AsyncVerbs

if TYPE_CHECKING:
    from ipfs_accelerate_py.ledger import Ledger

__all__ = ["SyncFace", "SyncReplyStream", "blocking", "on_loop"]

P = ParamSpec("P")
R = TypeVar("R")


def blocking(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncFace, P], R]:
    """An awaitable method for ordinary code: it runs on the portal's loop, and is waited for here."""

    def call(self: SyncFace, /, *args: P.args, **options: P.kwargs) -> R:
        return self.portal().call(verb, self._client, *args, **options)

    return functools.update_wrapper(call, verb)


def on_loop(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[SyncFace, P], R]:
    """A plain method, called on the portal's loop, where the state that it changes lives."""

    def call(self: SyncFace, /, *args: P.args, **options: P.kwargs) -> R:
        return self.portal().run(functools.partial(method, self._client, *args, **options))

    return functools.update_wrapper(call, method)


def _streaming(
    verb: Callable[Concatenate[Any, P], ReplyStream],
) -> Callable[Concatenate[SyncFace, P], SyncReplyStream]:
    def call(self: SyncFace, /, *args: P.args, **options: P.kwargs) -> SyncReplyStream:
        return SyncReplyStream(self.portal(), verb(self._client, *args, **options))

    return functools.update_wrapper(call, verb)


class SyncFace(SyncBatchVerbs, LiveSettings, ABC):
    """The verbs of an asynchronous client or router, which it drives on the portal's loop."""

    _client: Any
    _generation: int

    # --- verbs, written in `AsyncVerbs` --------------------------------------------------------------------------

    chat = blocking(AsyncVerbs.chat)
    stream = _streaming(AsyncVerbs.stream)
    complete = blocking(AsyncVerbs.complete)
    stream_complete = _streaming(AsyncVerbs.stream_complete)
    respond = blocking(AsyncVerbs.respond)
    stream_respond = _streaming(AsyncVerbs.stream_respond)
    count_tokens = blocking(AsyncVerbs.count_tokens)
    embed = blocking(AsyncVerbs.embed)
    rerank = blocking(AsyncVerbs.rerank)
    classify = blocking(AsyncVerbs.classify)
    moderate = blocking(AsyncVerbs.moderate)
    transcribe = blocking(AsyncVerbs.transcribe)
    speak = blocking(AsyncVerbs.speak)
    generate_images = blocking(AsyncVerbs.generate_images)
    run = blocking(AsyncVerbs.run)
    stream_run = _streaming(AsyncVerbs.stream_run)
    infer = blocking(AsyncVerbs.infer)
    store = blocking(AsyncVerbs.store)
    models = blocking(AsyncVerbs.models)
    request = blocking(AsyncVerbs.request)
    stream_request = _streaming(AsyncVerbs.stream_request)

    # --- features, written in `features` -------------------------------------------------------------------------
    # (blocking(...) for those that must be awaited, on_loop(...) for the others)

    enable_single_flight = on_loop(Features.enable_single_flight)
    disable_single_flight = on_loop(Features.disable_single_flight)
    single_flight_stats = on_loop(Features.single_flight_stats)
    enable_hedging = on_loop(Features.enable_hedging)
    disable_hedging = on_loop(Features.disable_hedging)
    hedging_stats = on_loop(Features.hedging_stats)

    enable_batching = on_loop(Features.enable_batching)
    disable_batching = on_loop(Features.disable_batching)
    batching_stats = on_loop(Features.batching_stats)

    enable_tracing = on_loop(Features.enable_tracing)
    disable_tracing = blocking(Features.disable_tracing)
    enable_metrics = on_loop(Features.enable_metrics)
    disable_metrics = blocking(Features.disable_metrics)
    add_alert = on_loop(Features.add_alert)
    remove_alert = on_loop(Features.remove_alert)
    alert_states = on_loop(Features.alert_states)
    flush_alerts = blocking(Features.flush_alerts)
    log_calls = on_loop(Features.log_calls)
    report = on_loop(Features.report)

    set_limits = on_loop(Features.set_limits)
    remove_limits = on_loop(Features.remove_limits)
    limits = on_loop(Features.limits)
    set_budget = on_loop(Features.set_budget)
    remove_budget = on_loop(Features.remove_budget)
    budgets = on_loop(Features.budgets)
    budget_shares = on_loop(Features.budget_shares)
    seed_budgets = on_loop(Features.seed_budgets)

    track_costs = on_loop(Features.track_costs)
    stop_tracking_costs = on_loop(Features.stop_tracking_costs)
    open_ledger = blocking(Features.open_ledger)
    close_ledger = blocking(Features.close_ledger)
    flush_ledger = blocking(Features.flush_ledger)
    usage = blocking(Features.usage)

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that is open here; its own methods are for asyncio, but for `Ledger.totals` and `Ledger.close`."""
        found: Ledger | None = self._client.ledger
        return found

    enable_cache = blocking(Features.enable_cache)
    disable_cache = blocking(Features.disable_cache)
    enable_semantic_cache = blocking(Features.enable_semantic_cache)
    disable_semantic_cache = blocking(Features.disable_semantic_cache)
    cache_stats = on_loop(Features.cache_stats)
    clear_cache = blocking(Features.clear_cache)
    close_caches = blocking(Features.close_caches)

    # --- the portal ----------------------------------------------------------------------------------------------

    def portal(self) -> Portal:
        """The portal, with this client's state on its loop (made fresh in a forked child)."""
        found = portals.portal()
        if self._generation != portals.generation:
            with portals.lock():
                self._move(found)
        return found

    def _move(self, found: Portal) -> None:
        if self._generation == portals.generation:
            return  # another thread was faster
        if self._generation:
            self._renew()  # a forked child: its queue is not its parent's
        found.adopt(self._client)
        self._generation = portals.generation

    def _set(self, name: str, value: Any) -> None:
        # On the loop, where the queue that a new limit wakes lives; before the first call there is nothing to wake.
        if self._generation == 0:
            setattr(self.settings, name, value)
        else:
            self.portal().run(setattr, self.settings, name, value)

    @abstractmethod
    def _renew(self) -> None:
        """Start with fresh state, in a forked child."""


class SyncReplyStream:
    """A streaming answer: iterate over its chunks, then ask it for ``usage`` and the rest.

    The call begins at once, in the background. ``with`` makes sure that leaving early lets go at once.
    """

    def __init__(self, portal: Portal, stream: ReplyStream) -> None:
        self._inner = stream
        self._begun = False
        self._chunks: PumpedStream[Chunk] = PumpedStream(
            portal, stream.next_batch, stream.abort, deadline=stream.deadline
        )

    def __iter__(self) -> Iterator[Chunk]:
        self._begun = True
        return self._chunks

    def __next__(self) -> Chunk:
        self._begun = True
        return next(self._chunks)

    def collect(self) -> Reply:
        """Read to the end, and give what the unary call would have given.

        A router may begin the answer anew where a target fails on the way: nobody has seen its beginning.
        """
        if not self._begun:
            self._inner.may_restart()
        collector = Collector()
        for chunk in self._chunks:
            collector.add(chunk)
        return collector.reply(self._inner.reply)

    @property
    def reply(self) -> Reply | None:
        """What is known of the answer beside its chunks, such as who gives it; None before the first of them."""
        return self._inner.reply

    @property
    def request_id(self) -> str:
        return self._inner.request_id

    @property
    def usage(self) -> Usage:
        """Tokens so far as they are known; final at the end."""
        return self._inner.usage

    @property
    def finish_reason(self) -> str | None:
        return self._inner.finish_reason

    @property
    def model(self) -> str:
        return self._inner.model

    def close(self) -> None:
        """Leave now: the upstream connection is dropped and everything held is given back."""
        self._chunks.close()

    def __enter__(self) -> SyncReplyStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
