"""The cutter: limits, fairness, and that nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.runtimes.batching import BatchCutter, Flow, Item

UNBOUNDED = {"max_tokens": 10**9, "max_items": 10**9, "max_padding": 10**9}


def put(cutter: BatchCutter, *lengths: int) -> Flow:
    flow = Flow()
    cutter.add([Item(flow, index, length) for index, length in enumerate(lengths)])
    return flow


def lengths(batch: list[Item]) -> list[int]:
    return [item.length for item in batch]


@given(
    requests=st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=20), max_size=8),
    max_tokens=st.integers(1, 2000),
    max_items=st.integers(1, 20),
    max_padding=st.integers(0, 400),
    workers=st.integers(1, 4),
    cut_after=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_every_item_leaves_once_and_no_batch_breaks_a_limit(
    requests: list[list[int]], max_tokens: int, max_items: int, max_padding: int, workers: int, cut_after: list[bool]
) -> None:
    cutter = BatchCutter(
        max_tokens=max_tokens, max_items=max_items, max_padding=max_padding, workers=workers, min_tokens=64
    )
    batches = []
    for request, cut in zip(requests, cut_after, strict=False):
        put(cutter, *request)
        if cut:
            batches.append(cutter.cut())
    while len(cutter):
        batches.append(cutter.cut())
    assert cutter.tokens == 0
    assert cutter.cut() == []
    served = [(id(item.flow), item.index) for batch in batches for item in batch]
    assert len(served) == len(set(served)) == sum(len(request) for request in requests)
    for batch in batches:
        padded = len(batch) * max(lengths(batch))
        assert lengths(batch) == sorted(lengths(batch))
        assert len(batch) == 1 or padded <= max_tokens
        assert len(batch) <= max_items
        assert padded - sum(lengths(batch)) <= max_padding


def test_neighbours_in_length_run_together_across_requests() -> None:
    cutter = BatchCutter(max_tokens=1000, max_items=100, max_padding=10)
    put(cutter, 10, 200, 12)
    put(cutter, 198, 11, 13)
    assert [lengths(cutter.cut()), lengths(cutter.cut())] == [[10, 11, 12, 13], [198, 200]]


def test_a_newcomer_does_not_wait_for_a_large_request_to_end() -> None:
    cutter = BatchCutter(max_tokens=100, max_items=1, max_padding=0)
    put(cutter, *[50] * 1000)
    for _ in range(10):
        cutter.cut()
    newcomer = put(cutter, 7)
    assert newcomer in [item.flow for _ in range(2) for item in cutter.cut()]


def test_the_odd_one_out_is_not_starved_by_a_stream_of_others() -> None:
    cutter = BatchCutter(max_tokens=100, max_items=4, max_padding=0)
    odd = put(cutter, 99)
    served = []
    for _ in range(3):
        put(cutter, *[5] * 8)
        served += [item.flow for item in cutter.cut()]
    assert odd in served


def test_within_a_request_turns_keep_their_order() -> None:
    cutter = BatchCutter(max_tokens=10**6, max_items=1, max_padding=0)
    flow = put(cutter, 9, 3, 6)
    cutter.add([Item(flow, 3, 1)])
    assert [cutter.cut()[0].index for _ in range(4)] == [0, 1, 2, 3]


def test_workers_share_what_waits_but_not_in_crumbs() -> None:
    cutter = BatchCutter(max_tokens=10**9, max_items=10**9, max_padding=0, workers=2, min_tokens=100)
    put(cutter, *[10] * 100)
    assert [len(cutter.cut()) for _ in range(5)] == [50, 25, 12, 10, 3]


def test_an_item_longer_than_a_batch_still_runs() -> None:
    cutter = BatchCutter(max_tokens=10, max_items=8, max_padding=100)
    put(cutter, 500, 500, 3)
    assert sorted(lengths(cutter.cut()) for _ in range(3)) == [[3], [500], [500]]


def test_discarding_a_request_leaves_the_others() -> None:
    cutter = BatchCutter(**UNBOUNDED)
    gone, stays = put(cutter, 4, 5, 6), put(cutter, 7)
    assert cutter.discard(gone) == 3
    assert cutter.discard(gone) == 0
    assert (len(cutter), cutter.tokens) == (1, 7)
    assert [item.flow for item in cutter.cut()] == [stays]
    assert cutter.cut() == []


def test_the_less_urgent_have_a_turn_when_they_have_watched_enough() -> None:
    cutter = BatchCutter(max_tokens=10, max_items=1, max_padding=0)
    low = Flow(priority=2)
    cutter.add([Item(low, 0, 10)])
    high = Flow(priority=0)
    cutter.add([Item(high, index, 10) for index in range(20)])
    order = [cutter.cut()[0].flow for _ in range(21)]
    # Eight full batches of ten tokens go by before it.
    assert order.index(low) == 8
    assert order.count(high) == 20


def test_a_limit_that_memory_has_set_grows_back_as_batches_run() -> None:
    cutter = BatchCutter(max_tokens=800, max_items=100, max_padding=0)
    put(cutter, *[10] * 60)
    cutter.shrink(cutter.cut())
    assert cutter.max_tokens == 300
    limits = []
    for _ in range(1024):
        cutter.went_well()
        limits.append(cutter.max_tokens)
    assert limits[254:256] == [300, 600]
    assert limits[511] == 800
    assert max(limits) == 800
    # A further failure begins the counting anew.
    put(cutter, *[10] * 60)
    cutter.shrink(cutter.cut())
    for _ in range(255):
        cutter.went_well()
    assert cutter.max_tokens == 300
