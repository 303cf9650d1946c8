"""``check``: what it says of services that work, that fail, and that lie."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ipfs_accelerate_py.cli.checks import probes
from ipfs_accelerate_py.cli.checks.backends import check_backends
from ipfs_accelerate_py.cli.failures import ExitCode
from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.cli.conftest import Invoke

BACKENDS = ("openai", "groq", "llvm", "claude", "gemini", "ollama", "hf_tgi", "hf_tei", "ovms", "opea")


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_operation_of_every_backend(invoke: Invoke, backend: str) -> None:
    done = invoke("check", "--apis", backend, "--json")
    assert done.exit_code == 0, done.stdout
    found = json.loads(done.stdout)
    assert {each["backend"] for each in found["results"]} == {backend}
    worked = {each["operation"] for each in found["results"] if each["status"] == "ok"}
    assert worked >= ({"embed", "rerank", "classify"} if backend == "hf_tei" else {"chat", "stream", "leave early"})
    assert found["counts"]["failed"] == 0


def test_a_line_each_in_a_pipe_and_what_is_left_out(invoke: Invoke) -> None:
    done = invoke("check", "--apis", "openai,s3_kit,local", "--skip-apis", "openai")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("local", "skipped"), ("s3_kit", "skipped")]
    assert done.exit_code == 0
    assert "2 checks: 2 skipped" in done.stderr


def test_a_backend_without_a_key_is_skipped_live_and_says_what_to_set(invoke: Invoke) -> None:
    [line] = invoke("check", "--api", "claude", "--live").stdout.splitlines()
    assert "ANTHROPIC_API_KEY" in line
    assert line.split("\t")[2] == "skipped"


def test_live_asks_the_service_that_is_configured(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_URL", "http://127.0.0.1:9/api")
    done = invoke("check", "--api", "ollama", "--live", "--json", "-m", "m")
    found = json.loads(done.stdout)
    assert done.exit_code == ExitCode.UPSTREAM
    assert {each["status"] for each in found["results"]} <= {"failed", "unsupported"}
    assert "ConnectFailed" in found["results"][0]["detail"]


def test_names_that_are_none(invoke: Invoke) -> None:
    assert "there is no backend 'gtp'" in invoke("check", "--apis", "gtp").stderr
    spaced = invoke("check", "--apis", "openai", "groq")
    assert spaced.exit_code == ExitCode.USAGE
    assert "--apis openai,groq" in spaced.stderr


def test_the_list_of_backends(invoke: Invoke) -> None:
    listed = json.loads(invoke("check", "--list", "--json").stdout)["backends"]
    assert {each["name"] for each in listed} >= {*BACKENDS, "s3_kit", "local"}


async def test_an_answer_that_is_not_one_fails_although_its_status_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Simulator.start

    async def lying(self: Simulator) -> Simulator:
        self.always(Fault.status(500), when=lambda request: request.path.endswith("/chat/completions"))
        return await begin(self)

    monkeypatch.setattr(Simulator, "start", lying)
    results = await check_backends(["groq"], model="m", live=False, told=lambda result: None)
    status = {result.operation: result.status for result in results}
    assert (status["chat"], status["stream"], status["models"]) == ("failed", "failed", "ok")


async def test_the_probes_judge_what_came() -> None:
    class Same:
        async def embed(self, model: str, input: list[str]) -> Any:
            class Reply:
                vectors = [[1.0, 0.0]] * 3

            return Reply

    [embed] = [probe for probe in probes.PROBES if probe.name == "embed"]
    with pytest.raises(probes.Wrong, match="the same vector"):
        await embed.run(Same(), "m")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["openai", "claude", "hf_tei"])
def test_the_queue(invoke: Invoke, backend: str) -> None:
    done = invoke("check", "queue", "--api", backend, "--queue-size", "4", "--max-concurrent", "1", "--json")
    found = json.loads(done.stdout)["results"]
    assert {each["operation"]: each["status"] for each in found} == dict.fromkeys(
        ("calls at once", "full queue", "priorities", "back-off", "circuit breaker"), "ok"
    ), found


async def test_the_queue_of_a_real_server(invoke: Invoke) -> None:
    async with Simulator("ollama") as server:
        done = await asyncio.to_thread(
            invoke, "check", "queue", "--api", "ollama", "--model", "llama3", "--host", server.url, "--json"
        )
    status = {each["operation"]: each["status"] for each in json.loads(done.stdout)["results"]}
    assert status["calls at once"] == "ok"
    assert status["circuit breaker"] == "skipped"


@pytest.mark.parametrize("backend", ["openai", "claude", "gemini", "opea"])
def test_several_keys(invoke: Invoke, backend: str) -> None:
    done = invoke("check", "multiplexing", "--api", backend, "--json")
    found = json.loads(done.stdout)
    assert found["counts"]["ok"] == len(found["results"]) == 4, found


def test_a_backend_without_keys_has_nothing_to_multiplex(invoke: Invoke) -> None:
    done = invoke("check", "multiplexing", "--api", "ollama")
    assert done.exit_code == ExitCode.USAGE
    assert "no pool of keys" in done.stderr


def test_this_machine(invoke: Invoke) -> None:
    done = invoke("check", "hardware", "--backend", "cuda:77", "--json")
    [result] = json.loads(done.stdout)["results"]
    assert result["status"] == "failed"
    assert "cuda:77" in result["detail"]
    done = invoke("check", "hardware", "--backend", "cpu", "--json")
    assert json.loads(done.stdout)["counts"]["ok"] == 1, done.stdout
    assert json.loads(invoke("check", "endpoints", "--json").stdout)["counts"]["ok"] >= 1
