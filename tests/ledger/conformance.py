"""What every store of the ledger must do: each has a class of tests that inherits these."""

from __future__ import annotations

import asyncio
import collections
import math
import statistics
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.ledger import Ledger
from ipfs_accelerate_py.ledger.rows import row_of
from ipfs_accelerate_py.types import Cost, Operation, Usage
from tests.ledger.support import DAY, NOON, record, records

__all__ = ["LedgerConformance"]


class LedgerConformance:
    """Inherit, and have a fixture ``where``: the address of an empty ledger."""

    @pytest.fixture
    async def ledger(self, where: str) -> AsyncIterator[Ledger]:
        made = Ledger(where)
        yield made
        await made.aclose()

    async def test_what_is_heard_is_found(self, ledger: Ledger) -> None:
        usage = Usage(100, 20, 30, 5, 7, 3, 11, True, images=2, characters=9, seconds=1.5)
        ledger.observe(record(usage=usage, first_content=0.1, upstream_request_id="up", tags={"a": "b"}, status=None))
        [row] = await ledger.usage()
        assert (row.calls, row.failures, row.cancelled, row.cache_hits, row.unpriced) == (1, 0, 0, 0, 0)
        assert (row.input_tokens, row.output_tokens, row.total_tokens) == (100, 20, 120)
        assert (row.cached_tokens, row.reasoning_tokens, row.cache_write_tokens) == (30, 5, 11)
        assert (row.input_audio_tokens, row.output_audio_tokens) == (7, 3)
        assert (row.images, row.characters, row.seconds) == (2, 9, 1.5)
        assert row.cost == pytest.approx(0.00045)
        assert (row.p50, row.p95, row.mean) == (0.5, 0.5, 0.5)
        assert ledger.snapshot()["written"] == 1

    async def test_nothing_yet(self, ledger: Ledger) -> None:
        assert await ledger.usage() == []
        assert await ledger.usage(by=["day", "model"]) == []
        assert await ledger.spent(since=0.0) == (0.0, 0)

    async def test_totals_by_everything(self, ledger: Ledger) -> None:
        ledger.observe(record(tags={"project": "x"}, tenant="acme", caller="team-a"))
        ledger.observe(record(started=NOON + DAY, model="claude", backend="claude", alias="smart", key="second"))
        ledger.observe(record(started=NOON + DAY, outcome="failure", error="ServerError", status=503, cost=None))
        expected: dict[str, list[str | None]] = {
            "day": ["2026-03-01", "2026-03-02"],
            "month": ["2026-03"],
            "hour": ["2026-03-01T12:00Z", "2026-03-02T12:00Z"],
            "model": ["claude", "gpt-4o"],
            "backend": ["claude", "openai"],
            "alias": ["smart"],
            "key": ["first", "second"],
            "tenant": ["", "acme"],
            "caller": ["", "team-a"],
            "operation": ["chat"],
            "outcome": ["failure", "success"],
            "error": ["", "ServerError"],
            "cache": [""],
            "tier": [""],
            "priority": ["NORMAL"],
            "tag:project": ["x", None],
            "tag:no'such\"one": [None],
        }
        for by, wanted in expected.items():
            rows = await ledger.usage(by=by)
            assert [row.group for row in rows] == [{by: value} for value in wanted], by
            assert sum(row.calls for row in rows) == 3
        rows = await ledger.usage(by=["day", "model"])
        assert [(*row.group.values(), row.calls) for row in rows] == [
            ("2026-03-01", "gpt-4o", 1),
            ("2026-03-02", "claude", 1),
            ("2026-03-02", "gpt-4o", 1),
        ]

    async def test_filters(self, ledger: Ledger) -> None:
        for number in range(6):
            ledger.observe(record(started=NOON + number * DAY, tenant="acme" if number % 2 else "globex"))
        [row] = await ledger.usage(since=NOON + DAY, until=NOON + 4 * DAY)
        assert row.calls == 3  # from the first of these instants until before the second
        [row] = await ledger.usage(since=NOON + DAY, tenant="acme")
        assert row.calls == 3
        assert await ledger.usage(tenant="nobody' OR 1=1 --") == []
        with pytest.raises(ConfigurationError, match="filtered by 'colour'"):
            await ledger.usage(colour="red")
        with pytest.raises(ConfigurationError, match=r"by day, .* not by 'colour'"):
            await ledger.usage(by="colour")
        with pytest.raises(ConfigurationError, match="twice"):
            await ledger.usage(by=["day", "day"])

    async def test_ten_thousand_records_are_their_sums(self, ledger: Ledger) -> None:
        given = records(10_000)
        for one in given:
            ledger.observe(one)
        await ledger.flush()  # of so many some may be on their way for longer than a question waits
        rows = await ledger.usage(by=["model", "tenant"])
        wanted: dict[tuple[str, str], list[Any]] = collections.defaultdict(list)
        for one in given:
            wanted[one.model, one.tenant].append(one)
        assert {tuple(row.group.values()) for row in rows} == set(wanted)
        for row in rows:
            own = wanted[row.group["model"], row.group["tenant"]]
            made = [one for one in own if not one.cache]
            good = sorted(one.latency for one in own if one.outcome == "success")
            assert row.calls == len(own)
            assert row.failures == sum(one.outcome == "failure" for one in own)
            assert row.cancelled == sum(one.outcome == "cancelled" for one in own)
            assert row.cache_hits == len(own) - len(made)
            assert row.input_tokens == sum(one.usage.input_tokens for one in made)
            assert row.output_tokens == sum(one.usage.output_tokens for one in made)
            assert row.cached_tokens == sum(one.usage.cached_tokens for one in made)
            assert row.saved_tokens == sum(one.usage.total_tokens for one in own if one.cache)
            assert row.cost == pytest.approx(math.fsum(one.cost.total for one in own if one.cost), rel=1e-12)
            assert row.saved == pytest.approx(math.fsum(one.saved for one in own), rel=1e-12)
            assert row.unpriced == sum(one.cost is None and one.outcome == "success" for one in own)
            assert row.mean == pytest.approx(statistics.fmean(good))
            assert row.p50 == pytest.approx(good[math.ceil(0.5 * len(good)) - 1])
            assert row.p95 == pytest.approx(good[math.ceil(0.95 * len(good)) - 1])
        [whole] = await ledger.usage()
        assert whole.calls == 10_000
        assert ledger.snapshot() | {"name": ""} == {
            "name": "",
            "written": 10_000,
            "waiting": 0,
            "in_file": 0,
            "spilled": 0,
            "lost": 0,
            "trouble": None,
        }

    async def test_what_was_spent_is_known_at_once(self, ledger: Ledger) -> None:
        assert await ledger.spent(since=0.0) == (0.0, 0)
        for tenant, alias, cache in (("acme", "smart", ""), ("acme", "small", ""), ("globex", "smart", "exact")):
            hit = Cost(0.0) if cache else Cost(0.25)
            ledger.observe(record(tenant=tenant, alias=alias, caller=f"{tenant}-key", cost=hit, cache=cache))
        ledger.observe(record(tenant="acme", alias="smart", started=NOON - 60, cost=None))
        # Nobody waited for the writer in between.
        assert await ledger.spent(since=NOON) == (0.5, 240)
        assert await ledger.spent(since=NOON, tenant="acme") == (0.5, 240)
        assert await ledger.spent(since=NOON, tenant="acme", model="smart") == (0.25, 120)
        assert await ledger.spent(since=0.0, tenant="acme", model="smart") == (0.25, 240)
        assert await ledger.spent(since=NOON, caller="globex-key") == (0.0, 0)  # it was in the cache

    async def test_a_batch_sent_twice_is_there_once(self, ledger: Ledger) -> None:
        rows = [row_of(record(request_id="the same"), f"uid-{number}") for number in range(10)]
        connection = ledger.store.connect()
        try:
            connection.insert(rows)
            connection.insert(rows)
            connection.insert([*rows, row_of(record(), "another")])
        finally:
            connection.close()
        [row] = await ledger.usage()
        assert row.calls == 11  # and equal request ids, which callers choose, are as many calls as there were

    async def test_whatever_callers_write_can_be_stored(self, ledger: Ledger) -> None:
        odd = "a\0b\ud800c'\"\\;--\n€" + "x" * 10_000
        ledger.observe(record(model=odd, tenant=odd, tags={odd: odd}, latency=math.nan, status=2**31))
        ledger.observe(record(operation=Operation.EMBED, usage=Usage(10**30, -5, reported=True)))
        rows = await ledger.usage(by="model")
        assert [row.calls for row in rows] == [1, 1]
        assert rows[0].group["model"].startswith("a�b?c'\"\\;--\n€xxx")
        assert len(rows[0].group["model"]) == 256
        assert ledger.snapshot()["lost"] == 0

    async def test_a_row_that_is_refused_costs_no_other(self, ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
        ledger.observe(record())
        ledger.observe(record(attempts=2**70))
        ledger.observe(record())
        [row] = await ledger.usage()
        assert row.calls == 2
        assert ledger.snapshot()["lost"] == 1
        assert "has lost 1 records so far: the database refuses a record" in caplog.text

    async def test_old_calls_are_forgotten(self, ledger: Ledger) -> None:
        for number in range(4):
            ledger.observe(record(started=NOON + number * DAY))
        await ledger.prune(NOON + 2 * DAY)
        assert [row.group["day"] for row in await ledger.usage(by="day")] == ["2026-03-03", "2026-03-04"]

    async def test_several_ledgers_write_the_same_place(self, where: str) -> None:
        ledgers = [Ledger(where) for _ in range(4)]
        for number, one in enumerate(records(2000)):
            ledgers[number % 4].observe(one)
        await asyncio.gather(*(ledger.flush() for ledger in ledgers))
        [row] = await ledgers[0].usage()
        assert row.calls == 2000
        for ledger in ledgers:
            assert ledger.snapshot()["lost"] == 0
            await ledger.aclose()

    async def test_it_begins_again_after_it_was_closed(self, ledger: Ledger) -> None:
        ledger.observe(record())
        await ledger.aclose()
        await ledger.aclose()
        ledger.observe(record())
        [row] = await ledger.usage()
        assert row.calls == 2

    async def test_a_database_of_a_later_version_is_left_alone(self, ledger: Ledger, where: str) -> None:
        ledger.observe(record())
        await ledger.flush()
        connection = ledger.store.connect()
        connection.execute("INSERT INTO ledger_version (version) VALUES (99)")
        connection.close()
        with pytest.raises(ConfigurationError, match="of version 99, and this package knows versions up to 1"):
            await Ledger(where).usage()
