"""``/admin``: for whoever shows the admin's key, and nobody else; no key's value is in any of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_accelerate_py.simulator import Fault

from .aliased import aliased

TEXT = """
model_list:
  - name: smart
    targets:
      - model: openai/gpt-4o
        base_url: "{0}"
        api_key: sk-upstream-secret
        price: {input: 1, output: 2}
        settings: {max_retries: 0, circuit_failure_threshold: 1}
      - {model: openai/gpt-4o-mini, base_url: "{1}", api_key: sk-upstream-secret, settings: {{quick}}}
gateway: {admin_key: sk-admin, api_key: sk-plain}
keys:
  - name: alice
    key: sk-alice-secret
    tenant: acme
    models: [smart]
    budget: {tokens: 100000, per: day}
    requests_per_minute: 100
cache: {exact: true}
"""
SECRETS = ("sk-upstream-secret", "sk-alice-secret", "sk-admin", "sk-plain")
PATHS = ("usage", "keys", "budgets", "limits", "targets", "report", "cache", "alerts")


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_for_the_admin_alone(path: str) -> None:
    async with aliased(TEXT) as setup:
        for key in (None, "sk-alice-secret", "sk-plain"):
            assert (await setup.get(f"/admin/{path}", key=key)).status == 401
        assert (await setup.ask(key="sk-admin")).status == 401  # it is no key for models
        assert setup.counts() == [0, 0]


async def test_without_an_admin_s_key_there_is_nothing() -> None:
    async with aliased(TEXT.replace("admin_key: sk-admin, ", "")) as setup:
        assert (await setup.get("/admin/keys", key="sk-plain")).status == 404


async def test_what_it_shows() -> None:
    async with aliased(TEXT) as setup:
        setup.sims[0].script(Fault.status(500))
        for _ in range(3):
            assert (await setup.ask(key="sk-alice-secret", x_tags="a=b")).status == 200
        shown = {}
        for path in PATHS[1:]:
            got = await setup.get(f"/admin/{path}", key="sk-admin")
            assert got.status == 200, (path, got.body)
            assert not any(secret.encode() in got.body for secret in SECRETS)
            shown[path] = got.json
        assert [key["name"] for key in shown["keys"]["keys"]] == ["config", "alice"]
        assert shown["keys"]["keys"][1]["models"] == ["smart"]
        [budget] = shown["budgets"]["budgets"]
        assert (budget["caller"], budget["spent_tokens"] > 0) == ("alice", True)
        assert shown["targets"]["aliases"]["smart"]["targets"] == ["openai/gpt-4o", "openai/gpt-4o-mini"]
        assert shown["targets"]["targets"]["openai/gpt-4o"]["circuit"]["state"] == "OPEN"
        assert shown["cache"]["exact"]["hits"] == 2
        page = await setup.get("/admin/report?format=html", key="sk-admin")
        assert page.headers["content-type"].startswith("text/html")
        assert (await setup.get("/admin/usage", key="sk-admin")).status == 400  # there is no ledger


async def test_the_cache_is_emptied() -> None:
    async with aliased(TEXT) as setup:
        await setup.ask(key="sk-plain")
        await setup.ask(key="sk-alice-secret")
        got = await setup.ask({"tenant": "acme"}, "/admin/cache/clear", key="sk-admin")
        assert got.json == {"cleared": 1}
        assert (await setup.ask(key="sk-alice-secret")).headers["x-ipfs-accelerate-cache"] == "miss"
        assert (await setup.ask(key="sk-plain")).headers["x-ipfs-accelerate-cache"] == "exact"
        wrong = await setup.ask({"tenannt": "acme"}, "/admin/cache/clear", key="sk-admin")
        assert wrong.status == 400


async def test_no_tenant_sees_what_the_others_do() -> None:
    async with aliased(TEXT) as setup:
        for key, status in ((None, 401), ("sk-alice-secret", 403), ("sk-plain", 200), ("sk-admin", 200)):
            assert (await setup.get("/metrics", key=key)).status == status


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/admin/nothing", "GET", 404), ("/admin/keys", "POST", 405), ("/admin/cache/clear", "GET", 405)],
)
async def test_paths_that_are_none(path: str, method: str, status: int) -> None:
    from .support import ask

    async with aliased(TEXT) as setup:
        assert (await ask(setup.gateway, None, path, method=method, key="sk-admin")).status == status


async def test_the_ledger(tmp_path: Path) -> None:
    text = TEXT + f"ledger: {{path: {tmp_path / 'usage.sqlite3'}}}\n"
    async with aliased(text) as setup:
        await setup.ask(key="sk-alice-secret")
        await setup.ask(key="sk-alice-secret")
        got = await setup.get("/admin/usage?by=alias,tenant&since=2026-01-01&tenant=acme", key="sk-admin")
        assert got.status == 200, got.body
        [row] = got.json["usage"]
        assert (row["group"], row["calls"], row["cache_hits"]) == ({"alias": "smart", "tenant": "acme"}, 2, 1)
        assert row["cost"] > 0
        assert (await setup.get("/admin/usage?by=shoe-size", key="sk-admin")).status == 400
        assert (await setup.get("/admin/usage?since=yesterday", key="sk-admin")).status == 400
        page = (await setup.get("/metrics", key="sk-plain")).body.decode()
        assert 'ipfs_accelerate_cost_usd_total{key="alice",model="smart",tenant="acme"}' in page
        assert 'ipfs_accelerate_cache_hits_total{kind="exact"} 1.0' in page
    assert (tmp_path / "usage.sqlite3").exists()
