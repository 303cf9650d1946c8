"""``chat``: what is asked, what is printed, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import on_terminal, run, started, until

CHAT = ("chat", "-m", "openai/gpt-4o", "--retries", "0")


def _body(sim: SimulatorThread) -> dict[str, Any]:
    body = sim.requests[-1].body
    assert isinstance(body, dict)
    return body


# --- what is asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stdin", "asked"),
    [
        (["Why", "is", "it?"], "", "Why is it?"),
        ([], "from a pipe\n", "from a pipe"),
        (["-"], "all of it\n\nand this\n", "all of it\n\nand this"),
        (["Sum", "up:", "-"], "long text\n", "Sum up:\n\nlong text"),
        (["Sum up:", "-", "In", "French."], "text", "Sum up:\n\ntext\n\nIn French."),
        (["Sum up: 日本"], "ignored, because nobody asked for it", "Sum up: 日本"),
    ],
)
def test_the_prompt(configured: SimulatorThread, invoke: Invoke, arguments: list[str], stdin: str, asked: str) -> None:
    assert invoke(*CHAT, *arguments, input=stdin).exit_code == 0
    assert _body(configured)["messages"] == [{"role": "user", "content": asked}]


def test_options_reach_the_service(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(
        *CHAT,
        *("--system", "Be brief.", "-t", "0.25", "--max-tokens", "7", "--priority", "high"),
        *("--option", 'stop=["END"]', "--option", "seed=7", "--option", "user=somebody", "--option", "top_p=0.5"),
        "Hello",
    )
    assert result.exit_code == 0
    body = _body(configured)
    assert body["model"] == "gpt-4o"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["stop"], body["seed"]) == (0.25, ["END"], 7)
    assert (body["user"], body["top_p"], body["stream"]) == ("somebody", 0.5, True)
    assert 7 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert not body.keys() & {"priority", "timeout", "n"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-", "-"], "only once"),
        ([""], "the prompt is empty"),
        (["-"], "stdin is empty"),
        (["--option", "stop", "x"], "is not NAME=VALUE"),
        (["--option", "stream=true", "x"], "--no-stream"),
        (["--option", "temperature=1", "-t", "0", "x"], "given twice"),
        (["--timeout", "0", "x"], "--timeout"),
        (["--priority", "urgent", "x"], "--priority"),
        (["--api-key-env", "A", "--api-key-file", "b", "x"], "exclude each other"),
    ],
)
def test_wrong_usage_sends_nothing(
    configured: SimulatorThread, invoke: Invoke, arguments: list[str], said: str
) -> None:
    result = invoke(*CHAT, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert configured.requests == []


def test_stdin_that_is_no_text(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*CHAT, input=b"ab\xffc")
    assert result.exit_code == 2
    assert "stdin is not valid UTF-8 (byte 2)" in result.stderr


# --- which backend, which key ------------------------------------------------------------------------------------


def test_the_only_configured_backend_is_the_default(configured: SimulatorThread, invoke: Invoke) -> None:
    assert invoke("chat", "-m", "some/model", "Hello").exit_code == 0
    assert _body(configured)["model"] == "some/model"  # the slash is the model's own


def test_a_named_backend_leaves_the_model_as_it_is(configured: SimulatorThread, invoke: Invoke) -> None:
    assert invoke("chat", "--backend", "openai", "-m", "openai/gpt-oss-20b", "Hello").exit_code == 0
    assert _body(configured)["model"] == "openai/gpt-oss-20b"


def test_defaults_from_a_dotenv_file(
    sim: SimulatorThread, home: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text(
        f"IPFS_ACCELERATE_BACKEND=groq\nIPFS_ACCELERATE_MODEL=llama\nGROQ_API_KEY={KEY}\nGROQ_BASE_URL={sim.url}\n"
        "OPENAI_API_KEY=sk-another\n"
    )
    result = invoke("chat", "-v", "Hello")
    assert result.exit_code == 0
    assert f"asking llama of groq at {sim.url}" in result.stderr
    assert _body(sim)["model"] == "llama"


def test_a_base_url_alone_gets_no_other_services_key(
    home: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with SimulatorThread("openai") as sim:
        assert invoke("chat", "--base-url", sim.url, "-m", "my/model", "Hello").exit_code == 0
        assert sim.requests[-1].key is None
        assert _body(sim)["model"] == "my/model"


def test_nothing_configured(invoke: Invoke) -> None:
    result = invoke("chat", "-m", "gpt-4o", "Hello")
    assert result.exit_code == 2
    assert "OPENAI_API_KEY" in result.stderr
    assert "IPFS_ACCELERATE_BACKEND" in result.stderr


def test_several_configured(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("chat", "-m", "gpt-4o", "Hello", env={"GROQ_API_KEY": "gsk"})
    assert result.exit_code == 2
    assert "several backends are configured (groq, openai)" in result.stderr


def test_a_default_backend_that_does_not_exist(invoke: Invoke) -> None:
    result = invoke("chat", "-m", "x", "Hello", env={"IPFS_ACCELERATE_BACKEND": "opnai"})
    assert result.exit_code == 2
    assert "IPFS_ACCELERATE_BACKEND: there is no backend 'opnai'" in result.stderr


def test_no_model(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("chat", "Hello")
    assert result.exit_code == 2
    assert "IPFS_ACCELERATE_MODEL" in result.stderr


def test_key_from_a_file_or_a_variable(sim: SimulatorThread, home: Path, invoke: Invoke) -> None:
    (home / "key").write_text(f"{KEY}\n")
    where = ("chat", "-m", "openai/x", "--base-url", sim.url, "-vv")
    assert invoke(*where, "--api-key-file", "key", "Hello").exit_code == 0
    assert invoke(*where, "--api-key-env", "MINE", "Hello", env={"MINE": KEY}).exit_code == 0
    assert [request.key for request in sim.requests] == ["first", "first"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--api-key-env", "MINE"], 3, "MINE"),
        (["--api-key-file", "nowhere"], 2, "nowhere cannot be read: No such file"),
        (["--api-key-file", "empty"], 3, "empty"),
        (["--api-key-file", "two-lines"], 2, "two-lines"),
        ([], 3, "set OPENAI_API_KEY"),
    ],
)
def test_a_key_that_is_not_there(
    sim: SimulatorThread, home: Path, invoke: Invoke, arguments: list[str], code: int, said: str
) -> None:
    (home / "empty").write_text("\n")
    (home / "two-lines").write_text(f"{KEY}\nsk-2\n")
    result = invoke("chat", "-m", "openai/x", "--base-url", sim.url, *arguments, "Hello")
    assert result.exit_code == code
    assert said in result.stderr
    assert sim.requests == []


# --- what is printed ---------------------------------------------------------------------------------------------


def test_the_answer_ends_its_line(configured: SimulatorThread, invoke: Invoke) -> None:
    configured.always(Fault.messy())
    streamed = invoke(*CHAT, "Hello")
    whole = invoke(*CHAT, "--no-stream", "Hello")
    assert streamed.stdout == whole.stdout
    assert streamed.stdout.endswith("\n")
    assert len(streamed.stdout.split()) == 20
    assert streamed.stderr == ""
    assert "stream" not in _body(configured)


def test_streams_piece_by_piece(sim: SimulatorThread, home: Path) -> None:
    env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": sim.url}
    sim.script(Fault.silence(after=3))
    with started(*CHAT, "Hello", env=env) as process:
        assert process.stdout is not None
        got = b""
        while len(got.split()) < 3:
            got += os.read(process.stdout.fileno(), 1000)
        assert process.poll() is None  # three tokens are here, and the answer is not over
        assert sim.in_flight == 1


def test_json_is_the_whole_reply(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("--json", *CHAT, "Hello")
    reply = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert reply["text"] == reply["raw"]["choices"][0]["message"]["content"]
    assert (reply["backend"], reply["model"], reply["finish_reason"]) == ("openai", "gpt-4o", "stop")
    assert reply["usage"]["output_tokens"] == 20
    assert reply["usage"]["total_tokens"] == reply["usage"]["input_tokens"] + 20
    assert reply["key_name"] == "OPENAI_API_KEY"
    assert "stream" not in _body(configured)
    assert json.loads(invoke(*CHAT, "--json", "Hello").stdout)["text"] == reply["text"]


def test_json_needs_a_prompt_on_a_terminal() -> None:
    with on_terminal("chat", "-m", "openai/x", "--json") as shown:
        assert shown.end() == 2
        assert "--json needs a prompt" in shown.text


def test_usage_on_stderr(configured: SimulatorThread, invoke: Invoke) -> None:
    for extra in ([], ["--no-stream"], ["--json"], ["-q"]):
        result = invoke(*CHAT, "--show-usage", *extra, "Hello")
        assert " tokens in, 20 out, " in result.stderr
        assert result.stderr.endswith(" s, openai/gpt-4o\n")


def test_an_answer_cut_off_by_its_limit_is_told(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*CHAT, "--max-tokens", "3", "Hello")
    assert result.exit_code == 0
    assert "warning: the answer was cut off" in result.stderr
    assert invoke(*CHAT, "-q", "--max-tokens", "3", "Hello").stderr == ""


def test_tools_that_the_model_asks_for(configured: SimulatorThread, invoke: Invoke) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    options = ("--option", f"tools={json.dumps([tool])}", "--option", "tool_choice=required")
    for extra in ([], ["--no-stream"]):
        result = invoke(*CHAT, *options, *extra, "Hello")
        assert result.stdout.startswith("look_up({")
        assert result.stdout.endswith("})\n")


def test_reasoning_on_request(configured: SimulatorThread, invoke: Invoke) -> None:
    message = {"role": "assistant", "content": "42", "reasoning_content": "Six times seven."}
    details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 4}}
    answer = {
        "object": "chat.completion",
        "model": "deep",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, **details},
    }
    configured.always(Fault.status(200, body=json.dumps(answer)))
    result = invoke(*CHAT, "--no-stream", "--show-reasoning", "--show-usage", "Hello")
    assert result.stdout == "42\n"
    thought, usage = result.stderr.splitlines()
    assert thought == "Six times seven."
    assert usage.startswith("9 tokens in, 5 out, 3 cached, 4 of reasoning, ")
    assert invoke(*CHAT, "--no-stream", "Hello").stderr == ""


def test_a_terminal_is_not_driven_by_the_answer(home: Path) -> None:
    with SimulatorThread("openai", reply="red \x1b[31m alert \x1b]0;title\x07") as sim:
        arguments = ("chat", "-m", "m", "--base-url", sim.url, "Hello")
        with on_terminal(*arguments) as shown:
            assert shown.end() == 0
            assert "red \\x1b[31m alert \\x1b]0;title\\x07" in shown.text
        assert run(*arguments).stdout == "red \x1b[31m alert \x1b]0;title\x07\n"  # a pipe gets what there is


# --- how it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (Fault.status(401), 3, "Authentication error"),
        (Fault.insufficient_quota(), 3, "error: "),
        (Fault.status(429, retry_after=7), 4, "try again in 7 s"),
        (Fault.status(503), 5, "HTTP 503"),
        (Fault.reset(), 5, "openai"),
        (Fault.html(), 5, "error: "),
        (Fault.redirect(), 5, "redirect"),
        (Fault.context_length_exceeded(), 6, "shorten the input"),
        (Fault.content_policy_violation(), 6, "HTTP 400"),
        (Fault.model_not_found(), 6, "ipfs-accelerate models openai"),
    ],
)
def test_exit_codes(configured: SimulatorThread, invoke: Invoke, fault: Fault, code: int, said: str) -> None:
    configured.always(fault)
    for extra in ([], ["--no-stream"]):
        result = invoke(*CHAT, *extra, "Hello")
        assert (result.exit_code, result.stdout) == (code, "")
        assert said in result.stderr
        assert all(line.startswith(("error: ", "hint: ")) for line in result.stderr.splitlines())
    as_json = invoke(*CHAT, "--json", "Hello")
    assert json.loads(as_json.stderr)["error"]["exit_code"] == as_json.exit_code == code


def test_a_wrong_key(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*CHAT, "Hello", env={"OPENAI_API_KEY": "sk-wrong-and-secret"})
    assert result.exit_code == 3
    assert "sk-wrong" not in result.stdout + result.stderr


def test_a_dead_address(invoke: Invoke) -> None:
    result = invoke("chat", "-m", "x", "--base-url", "http://127.0.0.1:9/v1", "--retries", "0", "Hello")
    assert result.exit_code == 5
    assert "is the server running?" in result.stderr


def test_an_answer_that_broke_off_is_an_error(configured: SimulatorThread, invoke: Invoke) -> None:
    configured.always(Fault.cut(after=5))
    result = invoke(*CHAT, "Hello")
    assert result.exit_code == 5
    assert len(result.stdout.split()) == 5
    assert result.stdout.endswith("\n")
    assert "not the whole answer" in result.stderr


def test_the_time_is_limited(configured: SimulatorThread, invoke: Invoke) -> None:
    configured.always(Fault.hang())
    result = invoke(*CHAT, "--timeout", "0.05", "Hello")
    assert result.exit_code == 5
    assert "--timeout allows more time" in result.stderr


def test_retries_are_made(configured: SimulatorThread, invoke: Invoke) -> None:
    configured.script(Fault.status(503, retry_after_ms=1))
    assert invoke("chat", "-m", "openai/x", "--retries", "1", "Hello").exit_code == 0
    assert len(configured.requests) == 2


def test_ctrl_c_ends_the_call(configured: SimulatorThread) -> None:
    configured.script(Fault.silence(after=2))
    with started(*CHAT, "Hello") as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 10)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert (out[-1:], err) == (b"\n", b"")
    until(lambda: configured.requests[-1].aborted_by_client)


def test_a_reader_who_leaves_ends_the_call(home: Path) -> None:
    with SimulatorThread("openai", tokens=100_000, chunk_interval=0.001) as sim:
        with started("chat", "-m", "m", "--base-url", sim.url, "Hello") as process:
            assert process.stdout is not None
            assert os.read(process.stdout.fileno(), 10)
            process.stdout.close()
            assert process.wait(30) == 141
            assert process.stderr is not None
            assert process.stderr.read() == b""
        until(lambda: sim.requests[-1].aborted_by_client)
