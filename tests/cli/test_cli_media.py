"""The commands for one call: ``rerank``, ``transcribe``, ``speak``, ``image``, ``moderate``, ``count``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.cli.conftest import KEY, Invoke

SOUND = b"RIFF" + bytes(range(256)) * 200


@pytest.fixture
def server(configured: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> SimulatorThread:
    """The simulator as a server of one's own as well."""
    monkeypatch.setenv("LLVM_API_ENDPOINT", configured.url)
    monkeypatch.setenv("LLVM_API_KEY", KEY)
    return configured


# --- rerank ------------------------------------------------------------------------------------------------------

RERANK = ("rerank", "-m", "llvm/bge", "--retries", "0")


def test_documents_come_back_with_the_best_first(server: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*RERANK, "red apple", "a stone", "a red apple")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(row[1], row[2]) for row in rows] == [("1", "a red apple"), ("0", "a stone")]
    assert float(rows[0][0]) > float(rows[1][0])


def test_documents_of_a_file_keep_their_ids(server: SimulatorThread, invoke: Invoke, home: Path) -> None:
    (home / "in.jsonl").write_text('{"text": "a stone", "id": "s"}\n\n{"text": "a red apple", "id": "r"}\n')
    result = invoke(*RERANK, "red apple", "--input", "in.jsonl", "--top-n", "1", "--json")
    found = json.loads(result.stdout)
    assert [(each["index"], each["id"], each["document"]) for each in found["results"]] == [(1, "r", "a red apple")]
    assert found["backend"] == "llvm"
    assert server.requests[-1].body["top_n"] == 1


@pytest.mark.parametrize("arguments", [[], ["-"], ["--input", "-"]])
def test_documents_from_stdin(server: SimulatorThread, invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*RERANK, "red apple", *arguments, input="a stone\n\na red apple\n")
    assert result.stdout.splitlines()[0].endswith("\t1\ta red apple")


def test_a_service_without_rankings_says_so(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("rerank", "-m", "openai/m", "a", "b")
    assert result.exit_code == 2
    assert "OpenAI has no operation rerank" in result.stderr
    assert configured.requests == []


# --- transcribe --------------------------------------------------------------------------------------------------

TRANSCRIBE = ("transcribe", "-m", "openai/whisper-1", "--retries", "0")


@pytest.fixture
def talk(home: Path) -> Path:
    (home / "talk.mp3").write_bytes(SOUND)
    return home / "talk.mp3"


def test_what_was_said(configured: SimulatorThread, invoke: Invoke, talk: Path) -> None:
    plain = invoke(*TRANSCRIBE, "talk.mp3", "--language", "de", "--option", "temperature=0.5")
    assert (plain.exit_code, plain.stdout.count("\n")) == (0, 1)
    assert b'filename="talk.mp3"' in configured.requests[-1].raw
    piped = invoke(*TRANSCRIBE, "-", "--language", "de", "--filename", "a.mp3", input=SOUND)
    assert piped.stdout == plain.stdout
    english = invoke(*TRANSCRIBE, "talk.mp3", "--translate")
    assert configured.requests[-1].path == "/v1/audio/translations"
    assert english.stdout != plain.stdout


def test_subtitles_by_the_ending_of_the_file(
    configured: SimulatorThread, invoke: Invoke, talk: Path, home: Path
) -> None:
    result = invoke(*TRANSCRIBE, "talk.mp3", "--output", "talk.srt")
    assert (result.stdout, result.stderr) == ("", "written to talk.srt\n")
    assert (home / "talk.srt").read_text().startswith("1\n00:00:00,000 --> ")
    assert invoke(*TRANSCRIBE, "talk.mp3", "--format", "vtt").stdout.startswith("WEBVTT\n")


def test_times_as_json(configured: SimulatorThread, invoke: Invoke, talk: Path) -> None:
    found = json.loads(invoke(*TRANSCRIBE, "talk.mp3", "--json").stdout)
    assert " ".join(each["text"].strip() for each in found["segments"]) == found["text"]
    assert found["segments"][0]["start"] == 0
    found = json.loads(invoke("transcribe", "-m", "openai/gpt-4o-transcribe", "talk.mp3", "--json").stdout)
    assert found["segments"] == []
    assert found["usage"]["total_tokens"] > 0


# --- speak -------------------------------------------------------------------------------------------------------

SPEAK = ("speak", "-m", "openai/tts-1", "--retries", "0")


def test_a_recording_in_a_file(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    result = invoke(*SPEAK, "Hello", "there", "--output", "hello.wav", "--speed", "2")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "bytes of audio/wav in hello.wav" in result.stderr
    assert (home / "hello.wav").read_bytes().startswith(b"RIFF")
    assert configured.requests[-1].body == {
        "model": "tts-1",
        "input": "Hello there",
        "voice": "alloy",
        "speed": 2.0,
        "response_format": "wav",
    }
    found = json.loads(invoke(*SPEAK, "--output", "other.mp3", "--json", input="Hello").stdout)
    assert (found["file"], found["content_type"]) == ("other.mp3", "audio/mpeg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Hello"], "--output"),
        (["Hello", "--output", "-", "--json"], "cannot be shown"),
        (["", "--output", "a.mp3"], "the text is empty"),
        (["Hello", "--output", "no/such/folder/a.mp3"], "no place for a file"),
        (["Hello", "--output", "."], "no place for a file"),
    ],
)
def test_what_cannot_be_spoken(
    configured: SimulatorThread, invoke: Invoke, home: Path, arguments: list[str], said: str
) -> None:
    result = invoke(*SPEAK, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert configured.requests == []


# --- image -------------------------------------------------------------------------------------------------------

IMAGE = ("image", "--retries", "0")


def test_urls_are_printed(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    result = invoke(*IMAGE, "-m", "openai/dall-e-2", "-n", "2", "--size", "256x256", "A", "lake")
    assert [line.startswith("http://127.0.0.1:") for line in result.stdout.splitlines()] == [True, True]
    assert configured.requests[-1].body == {"model": "dall-e-2", "prompt": "A lake", "n": 2, "size": "256x256"}


@pytest.mark.parametrize("model", ["dall-e-2", "gpt-image-1"])
def test_pictures_in_files(configured: SimulatorThread, invoke: Invoke, home: Path, model: str) -> None:
    result = invoke(*IMAGE, "-m", f"openai/{model}", "-n", "2", "A lake", "--output", "lake.png")
    assert result.stdout.splitlines() == ["lake-1.png", "lake-2.png"]
    assert all((home / name).read_bytes().startswith(b"\x89PNG") for name in ("lake-1.png", "lake-2.png"))
    found = json.loads(invoke(*IMAGE, "-m", f"openai/{model}", "A lake", "--output", "one.png", "--json").stdout)
    assert found["images"] == [{"file": "one.png", "url": None, "media_type": "image/png", "prompt": None}]


def test_a_picture_without_a_url_needs_a_file(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*IMAGE, "-m", "openai/gpt-image-1", "A lake")
    assert result.exit_code == 2
    assert "--output" in result.stderr


# --- moderate ----------------------------------------------------------------------------------------------------


def test_verdicts(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("moderate", "Hello", "I will kill it")
    assert result.exit_code == 0
    assert result.stdout == "ok\t\tHello\nflagged\tviolence\tI will kill it\n"
    assert configured.requests[-1].body["model"] == "omni-moderation-latest"
    found = json.loads(invoke("moderate", "--json", "-", input="I will kill it").stdout)
    assert found["flagged"] is True
    assert found["results"][0]["scores"]["violence"] > 0.5
    other = invoke("moderate", "--backend", "openai", "Hello")
    assert other.exit_code == 0
    assert configured.requests[-1].body["model"] == "omni-moderation-latest"


# --- count -------------------------------------------------------------------------------------------------------


def test_counts(server: SimulatorThread, invoke: Invoke, home: Path) -> None:
    plain = invoke("count", "-m", "openai/gpt-4o", "Hello", "there")
    assert (plain.exit_code, plain.stdout) == (0, "10\n")
    assert invoke("count", "-m", "openai/gpt-4o", input="Hello there").stdout == "10\n"
    with_system = invoke("count", "-m", "openai/gpt-4o", "-s", "Be brief.", "Hello there")
    assert int(with_system.stdout) > 10
    (home / "talk.json").write_text('[{"role": "user", "content": "Hello there"}]')
    assert invoke("count", "-m", "llvm/m", "--messages", "talk.json").stdout == "10\n"
    body = '{"messages": [{"role": "user", "content": "Hello there"}]}'
    found = json.loads(invoke("count", "-m", "llvm/m", "--messages", "-", "--json", input=body).stdout)
    assert found["tokens"] == 10
    assert server.requests[-1].path == "/tokenize"


def test_a_service_that_does_not_count_is_an_error(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("count", "-m", "groq/m", "Hello", env={"GROQ_API_KEY": KEY, "GROQ_BASE_URL": configured.url})
    assert result.exit_code == 2
    assert "Groq has no operation count" in result.stderr


# --- what they have in common ------------------------------------------------------------------------------------

CALLS: dict[str, tuple[str, ...]] = {
    "rerank": (*RERANK, "a", "b"),
    "transcribe": (*TRANSCRIBE, "talk.mp3"),
    "speak": (*SPEAK, "Hello", "--output", "out.mp3"),
    "image": (*IMAGE, "-m", "openai/dall-e-2", "A lake", "--output", "out.png"),
    "moderate": ("moderate", "--retries", "0", "Hello"),
    "count": ("count", "-m", "openai/gpt-4o", "--retries", "0", "Hello"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_failed_call_is_an_exit_code_and_leaves_no_file(
    server: SimulatorThread, invoke: Invoke, talk: Path, home: Path, name: str
) -> None:
    before = set(home.iterdir())
    for fault, code in ((Fault.status(401), 3), (Fault.status(429), 4), (Fault.status(400), 6)):
        server.script(fault)
        result = invoke(*CALLS[name])
        assert (result.exit_code, result.stdout) == (code, ""), result.stderr
        assert result.stderr.startswith("error: ")
    server.script(Fault.status(429))
    assert json.loads(invoke(*CALLS[name], "--json").stderr)["error"]["exit_code"] == 4
    assert set(home.iterdir()) == before


@pytest.mark.parametrize("name", ["speak", "image", "transcribe"])
def test_no_file_is_overwritten_without_being_asked(
    server: SimulatorThread, invoke: Invoke, talk: Path, home: Path, name: str
) -> None:
    call = [*CALLS[name], "--output", "precious.txt"] if name == "transcribe" else list(CALLS[name])
    path = home / call[-1]
    path.write_text("precious")
    result = invoke(*call)
    assert result.exit_code == 2
    assert f"{call[-1]} is there already; --force overwrites it" in result.stderr
    assert path.read_text() == "precious"
    assert server.requests == [], "nothing is paid for"
    assert invoke(*call, "--force").exit_code == 0
    assert path.read_bytes() != b"precious"


@pytest.mark.parametrize("name", ["rerank", "transcribe", "speak", "image", "count"])
def test_a_model_must_be_named(server: SimulatorThread, invoke: Invoke, talk: Path, name: str) -> None:
    call = [word for word in CALLS[name] if word != "-m" and "/" not in word]
    result = invoke(*call)
    assert result.exit_code == 2
    assert "no model: name one with -m" in result.stderr


def test_usage_on_stderr(server: SimulatorThread, invoke: Invoke, talk: Path) -> None:
    for name in ("rerank", "transcribe", "speak", "image", "moderate"):
        assert " s, " in invoke(*CALLS[name], "--show-usage", "-q").stderr, name


WRONG: list[tuple[tuple[Any, ...], str]] = [
    ((*RERANK, "", "b"), "the query is empty"),
    ((*RERANK, "a", "b", "--input", "x"), "one of them"),
    ((*RERANK, "a", "--input", "nowhere"), "nowhere cannot be read"),
    ((*RERANK, "a"), "no documents"),
    ((*RERANK, "a", "b", "--option", "query=c"), "that is an argument"),
    ((*TRANSCRIBE, "nowhere.mp3"), "nowhere.mp3 cannot be read"),
    ((*TRANSCRIBE, "-"), "the recording is empty"),
    ((*TRANSCRIBE, "talk.mp3", "--json", "--format", "srt"), "--json gives all"),
    ((*IMAGE, "-m", "openai/dall-e-2", "A lake", "--output", "-"), "written to files"),
    ((*IMAGE, "-m", "openai/dall-e-2"), "the description is empty"),
    (("moderate", "Hello", " "), "a text is empty"),
    (("count", "-m", "openai/m", "Hello", "--messages", "x"), "one of them"),
    (("count", "-m", "openai/m", "--messages", "-"), "is not JSON"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=range(len(WRONG)))
def test_wrong_usage_sends_nothing(
    server: SimulatorThread, invoke: Invoke, talk: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert server.requests == []


def test_messages_that_are_none(server: SimulatorThread, invoke: Invoke) -> None:
    for text in ("[3]", "{}", '"a"'):
        assert "no list of messages" in invoke("count", "-m", "openai/m", "--messages", "-", input=text).stderr
