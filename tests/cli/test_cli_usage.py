"""``usage``: what calls came to, and whether the provider says the same."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.cli.ledgers import money
from ipfs_accelerate_py.ledger import Ledger
from ipfs_accelerate_py.simulator import SimulatorThread
from ipfs_accelerate_py.types import Cost
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import on_terminal
from tests.ledger.support import DAY, record

ADMIN = "sk-admin-must-not-be-seen"


@pytest.fixture
def ledger(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """This user's own ledger, with calls of today and of some days ago."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    noon = time.time() // DAY * DAY
    made = Ledger()
    for days, model, tenant in (
        (0, "gpt-4o", "acme"),
        (0, "gpt-4o", "globex"),
        (2, "o3-mini", "acme"),
        (40, "old", ""),
    ):
        made.observe(record(started=noon - days * DAY + 60, model=model, tenant=tenant))
    made.observe(record(started=noon - 2 * DAY, model="o3-mini", outcome="failure", error="ServerError", cost=None))
    made.observe(record(started=noon - 2 * DAY, model="o3-mini", cache="exact", cost=Cost(0.0), saved=0.02))
    made.close()
    yield made
    made.close()


def test_a_line_a_day_and_a_total(ledger: Ledger, invoke: Invoke) -> None:
    result = invoke("usage")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    days = [time.strftime("%Y-%m-%d", time.gmtime(time.time() - days * DAY)) for days in (2, 0)]
    assert [row[0] for row in rows] == [*days, "total"]
    assert rows[0][1:] == ["3", "1", "1", "200", "40", "0", "0.00045", "0", "0.0200", "0.50", "0.50"]
    assert rows[-1][1:4] == ["5", "1", "1"]


def test_apart_by_several_and_of_some(ledger: Ledger, invoke: Invoke) -> None:
    found = json.loads(invoke("usage", "--by", "model,tenant", "--since", "7d", "--tenant", "acme", "--json").stdout)
    assert found["by"] == ["model", "tenant"]
    assert found["ledger"] == ledger.name
    assert [(row["model"], row["tenant"], row["calls"]) for row in found["rows"]] == [
        ("gpt-4o", "acme", 1),
        ("o3-mini", "acme", 1),
    ]
    assert found["total"]["calls"] == 2
    assert found["total"]["cost"] == pytest.approx(0.0009)
    everything = json.loads(invoke("usage", "--by", "day", "--by", "model", "--since", "8w", "--json").stdout)
    assert {row["model"] for row in everything["rows"]} == {"gpt-4o", "o3-mini", "old"}
    today = json.loads(invoke("usage", "--since", "today", "--format", "json").stdout)
    assert today["total"]["calls"] == 2
    before = json.loads(invoke("usage", "--since", "2000-01-01", "--until", "yesterday", "--json").stdout)
    assert before["total"]["calls"] == 4


def test_for_a_spreadsheet(ledger: Ledger, invoke: Invoke) -> None:
    result = invoke("usage", "--by", "model", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["model"] for row in rows] == ["gpt-4o", "o3-mini"]
    assert (rows[0]["calls"], rows[0]["input_tokens"], rows[0]["p95"]) == ("2", "200", "0.5")
    assert float(rows[0]["cost"]) == pytest.approx(0.0009)


def test_on_a_terminal_it_is_a_table(ledger: Ledger) -> None:
    with on_terminal("usage", "--by", "model") as shown:
        assert shown.end() == 0
        heading, *rows = shown.text.splitlines()
        assert heading.split()[:4] == ["model", "calls", "failed", "hits"]
        assert rows[-1].split()[0] == "total"


def test_another_ledger(ledger: Ledger, invoke: Invoke, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite3"
    assert invoke("usage", "--ledger", str(other)).exit_code == 2  # it is not there, and nothing is made by asking
    assert not other.exists()
    made = Ledger(other)
    made.observe(record(started=time.time()))
    made.close()
    for result in (
        invoke("usage", "--ledger", f"sqlite:///{other}", "--json"),
        invoke("usage", "--json", env={"IPFS_ACCELERATE_LEDGER": str(other)}),
    ):
        assert json.loads(result.stdout)["total"]["calls"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "colour"), "not by 'colour'"),
        (("--since", "soon"), "'soon' is no 7d, 12h, today"),
        (("--ledger", "mysql://h/d"), "not in mysql://"),
    ],
)
def test_wrong_usage(ledger: Ledger, invoke: Invoke, arguments: tuple[str, ...], said: str) -> None:
    result = invoke("usage", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_nothing_yet(ledger: Ledger, invoke: Invoke) -> None:
    result = invoke("usage", "--tenant", "nobody")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no calls in" in result.stderr


def test_money_with_the_digits_that_say_something() -> None:
    for dollars, text in (
        (0, "0.00"), (1234.5, "1,234.50"), (99.123456, "99.1235"), (0.0123456, "0.0123"), (0.00045, "0.00045"),
        (0.0000023, "0.0000023"), (3e-9, "3.0e-09"),
    ):  # fmt: skip
        assert money(dollars) == text


# --- the provider's own figures ----------------------------------------------------------------------------------


@pytest.fixture(params=["openai", "anthropic"])
def served(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """A provider that has answered some calls, all of which are in the ledger; its name and address."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("OPENAI_ADMIN_KEY", ADMIN)
    monkeypatch.setenv("ANTHROPIC_ADMIN_KEY", ADMIN)
    provider = request.param
    model, backend = ("gpt-4o", "openai") if provider == "openai" else ("claude-haiku-4-5", "claude")
    with (
        SimulatorThread(provider, api_keys={"first": KEY, "admin": ADMIN}) as sim,
        Client(backend, base_url=sim.url, api_key=KEY) as client,
    ):
        client.open_ledger()
        for number in range(7):
            client.chat(model, f"Hello {number}", max_tokens=50)
        client.stream(model, "Hello", max_tokens=50).collect()
        if provider == "openai":
            client.embed("text-embedding-3-small", ["a text", "and another one"])
            client.chat("gpt-4o-2024-08-06", "Hello")
        client.close_ledger()
        yield provider, sim.url


def reconcile(invoke: Invoke, served: tuple[str, str], *more: str) -> tuple[int, dict[str, object]]:
    provider, url = served
    result = invoke("usage", "reconcile", "--provider", provider, "--base-url", url, "--json", *more)
    assert ADMIN not in result.stdout + result.stderr
    return result.exit_code, json.loads(result.stdout)


def test_books_that_agree(served: tuple[str, str], invoke: Invoke) -> None:
    code, found = reconcile(invoke, served)
    assert (code, found["differences"]) == (0, 0)
    rows = found["rows"]
    assert isinstance(rows, list)
    models = {row["model"]: row for row in rows}
    if served[0] == "openai":
        assert models.keys() == {"gpt-4o", "text-embedding-3-small"}
        assert models["gpt-4o"]["ours"]["requests"] == models["gpt-4o"]["theirs"]["requests"] == 9
    for row in models.values():
        assert row["ours"]["input_tokens"] == row["theirs"]["input_tokens"] > 0
        assert row["ours"]["cost"] == pytest.approx(row["theirs"]["cost"])


def test_a_call_that_the_ledger_lacks_is_found(served: tuple[str, str], invoke: Invoke) -> None:
    provider, url = served
    backend = "openai" if provider == "openai" else "claude"
    model = "gpt-4o-mini" if provider == "openai" else "claude-sonnet-4-5"
    with Client(backend, base_url=url, api_key=KEY) as client:
        client.chat(model, "nobody wrote this down", max_tokens=50)
    code, found = reconcile(invoke, served)
    assert (code, found["differences"]) == (1, 1)
    [row] = [row for row in found["rows"] if row["differs_in"]]  # type: ignore[attr-defined]
    assert row["model"] == model
    assert row["ours"]["input_tokens"] is None
    assert "output_tokens" in row["differs_in"]
    result = invoke("usage", "reconcile", "--provider", provider, "--base-url", url)
    assert result.exit_code == 1
    assert [line.split("\t")[1:3] for line in result.stdout.splitlines()] == [[model, "ours"], [model, "theirs"]]
    assert "1 of" in result.stderr
    assert reconcile(invoke, served, "--tolerance", "100", "--tolerance-usd", "1")[0] == 0


def test_without_an_administrators_key(
    served: tuple[str, str], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    monkeypatch.delenv("ANTHROPIC_ADMIN_KEY")
    result = invoke("usage", "reconcile", "--provider", served[0], "--base-url", served[1])
    assert result.exit_code == 3
    assert "set OPENAI_ADMIN_KEY" in result.stderr or "set ANTHROPIC_ADMIN_KEY" in result.stderr


def test_from_a_file(ledger: Ledger, invoke: Invoke, tmp_path: Path) -> None:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    table = tmp_path / "export.csv"
    table.write_text(
        "start_time_iso,model,num_model_requests,input_tokens,output_tokens\n"
        f"{today}T00:00:00+00:00,gpt-4o-2024-08-06,2,200,40\n"
        "2001-01-01T00:00:00+00:00,ancient,1,1,1\n"  # not in the time that is asked about
    )
    arguments = ("usage", "reconcile", "--provider", "openai", "--since", "today", "--json", "--export")
    result = invoke(*arguments, str(table))
    assert (result.exit_code, json.loads(result.stdout)["differences"]) == (0, 0)
    table.write_text(f"date,model,requests,cost\n{today},gpt-4o,3,$0.5\n")
    found = json.loads(invoke(*arguments, str(table)).stdout)
    assert found["rows"][0]["differs_in"] == ["requests", "cost"]
    page = {
        "object": "page",
        "data": [
            {
                "start_time": int(time.time() // DAY * DAY),
                "results": [{"model": "gpt-4o", "num_model_requests": 2, "input_tokens": 200, "output_tokens": 40}],
            }
        ],
        "has_more": False,
    }
    (tmp_path / "page.json").write_text(json.dumps([page]))
    assert invoke(*arguments, str(tmp_path / "page.json")).exit_code == 0
    for text, said in (
        ("model,requests\ngpt-4o,2\n", "row 1 has no date"),
        ("{", "is no JSON"),
        ("date,model,requests\nnow,gpt-4o,2\n", "no date that can be read"),
        (f"date,model,requests\n{today},gpt-4o,two\n", "no number where one must be"),
        ("", "holds no figures"),
    ):
        table.write_text(text)
        result = invoke(*arguments, str(table))
        assert result.exit_code == 2
        assert said in result.stderr
    assert invoke(*arguments, str(tmp_path / "none.csv")).exit_code == 2
