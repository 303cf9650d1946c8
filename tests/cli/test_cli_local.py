"""Commands with models on this machine: ``run``, ``hardware``, ``models --local``, and the rest by ``local/NAME``."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

pytest.importorskip("torch", reason="the [local] extra is not installed")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    root = tmp_path_factory.mktemp("models")
    for name in ("bert", "gpt2", "whisper", "vits"):
        write_tiny(name, root / name)
    return root


@pytest.fixture(autouse=True)
def here(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPFS_ACCELERATE_MODELS", str(models))


def recording(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"\1\0" * 8000)
    return path


def test_run_does_the_model_s_own_task(invoke: Invoke) -> None:
    result = invoke("run", "bert", "a [MASK]", "b [MASK] c", "--option", "top_k=2")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 4
    shown = invoke("run", "bert", "--task", "fill-mask", "a [MASK]", "--json")
    answer = json.loads(shown.stdout)
    assert answer["model"] == "bert"
    assert answer["results"][0]["type"] == "fills"


def test_run_reads_files(invoke: Invoke, home: Path) -> None:
    recording(home / "talk.wav")
    result = invoke("run", "whisper", "@talk.wav", "--option", "return_timestamps=true", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["results"][0]["type"] == "transcript"
    missing = invoke("run", "whisper", "@none.wav")
    assert missing.exit_code == 2
    assert "none.wav cannot be read" in missing.stderr


def test_run_says_what_a_model_can_do(invoke: Invoke) -> None:
    result = invoke("run", "bert", "--task", "object-detection", "a")
    assert result.exit_code != 0
    assert "fill-mask" in result.stderr
    unknown = invoke("run", "nowhere", "a")
    assert unknown.exit_code != 0
    assert "looked at" in unknown.stderr


def test_a_model_larger_than_the_memory_is_refused(invoke: Invoke) -> None:
    result = invoke("run", "bert", "a [MASK]", "--memory", "10KB")
    assert result.exit_code != 0
    assert "kB" in result.stderr or "10000" in result.stderr


def test_models_of_this_machine_with_tasks_and_sizes(invoke: Invoke) -> None:
    result = invoke("models", "--local", "--json")
    assert result.exit_code == 0, result.stderr
    assert "automatic-speech-recognition" in result.stdout
    shown = invoke("models", "--local").stdout
    for name in ("bert", "gpt2", "whisper", "vits"):
        assert name in shown


def test_hardware(invoke: Invoke) -> None:
    result = invoke("hardware")
    assert result.exit_code == 0, result.stderr
    assert "cpu" in result.stdout
    found = json.loads(invoke("hardware", "--json").stdout)
    assert found


def test_chat_transcribe_and_speak(invoke: Invoke, home: Path) -> None:
    said = invoke("chat", "-m", "local/gpt2", "--max-tokens", "3", "Hello")
    assert said.exit_code == 0, said.stderr
    recording(home / "a.wav")
    heard = invoke("transcribe", "-m", "local/whisper", "a.wav")
    assert heard.exit_code == 0, heard.stderr
    spoken = invoke("speak", "-m", "local/vits", "--output", "out.wav", "hello")
    assert spoken.exit_code == 0, spoken.stderr
    with wave.open(io.BytesIO((home / "out.wav").read_bytes())) as file:
        assert file.getnframes() > 0
