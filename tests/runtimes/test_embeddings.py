"""The runtime's manners: arguments, errors, limits, what is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import (
    ConfigurationError,
    ContextLengthExceeded,
    InvalidRequest,
    MissingExtra,
    RuntimeUnavailable,
)
from ipfs_accelerate_py.runtimes import EmbeddingRuntime, embeddings

from . import tiny

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")


@pytest.fixture
def folder(transformer_folder: Any, tmp_path: Path) -> Path:
    """A tiny BERT with mean pooling and unit vectors, at most 40 tokens."""
    return tiny.legacy(transformer_folder("bert"), tmp_path / "mini", pooling={"pooling_mode_mean_tokens": True})


def test_what_a_loaded_model_says_of_itself(folder: Path, load: Any) -> None:
    runtime = load(folder, dtype="float32")
    assert (runtime.name, runtime.path) == ("mini", folder)
    assert (runtime.device, runtime.dtype, runtime.dimensions, runtime.max_tokens) == ("cpu", "float32", 32, 40)
    assert repr(runtime) == "<EmbeddingRuntime mini on cpu in float32, 32 dimensions>"
    assert load(folder, name="other").name == "other"


async def test_no_texts_give_no_vectors(folder: Path, load: Any) -> None:
    answer = await load(folder).embed([])
    assert (answer.vectors.shape, answer.vectors.dtype, answer.tokens) == ((0, 32), np.float32, [])


async def test_too_long_a_text_is_cut_or_refused_as_asked(folder: Path, load: Any) -> None:
    runtime = load(folder)
    fits, long = "fox " * 38, "fox " * 39
    answer = await runtime.embed([fits, long])
    assert answer.tokens == [40, 40]
    assert np.allclose(answer.vectors[0], answer.vectors[1], atol=1e-6)
    assert (await runtime.embed([fits], truncate=False)).tokens == [40]
    with pytest.raises(ContextLengthExceeded, match=r"input 1 has at least 41 tokens, .* at most 40") as caught:
        await runtime.embed([fits, long], truncate=False)
    assert (caught.value.status, caught.value.param) == (400, "input")
    with pytest.raises(ContextLengthExceeded):
        await runtime.embed(["fox " * 10_000], truncate=False)


@pytest.mark.parametrize(
    ("texts", "options", "param"),
    [
        ("one string", {}, "input"),
        (["a", 3], {}, "input"),
        (["a"], {"prompt_name": "poem"}, "prompt_name"),
        (["a"], {"prompt_name": ["query"]}, "prompt_name"),
        (["a"], {"dimensions": 0}, "dimensions"),
        (["a"], {"dimensions": "8"}, "dimensions"),
        (["a"], {"dimensions": True}, "dimensions"),
        (["a"], {"normalize": "no"}, "normalize"),
        (["a"], {"truncate": None}, "truncate"),
        (["a"], {"dimensions": 33}, "dimensions"),
        (["a", "\ud800 lone surrogate"], {}, "input"),
    ],
)
async def test_a_wrong_request_is_named(
    folder: Path, load: Any, texts: Any, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await load(folder).embed(texts, **options)
    assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize(
    "settings",
    [{"device": "tpu"}, {"dtype": "int8"}, {"threads": 0}, {"max_batch_tokens": 0}, {"max_batch_items": 0}],
    ids=str,
)
def test_a_wrong_setting_is_refused(folder: Path, load: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        load(folder, **settings)


def test_a_missing_library_names_the_extra(folder: Path, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "transformers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(MissingExtra, match=rf"'{module}'.* pip install \"ipfs-accelerate-py\[local\]\""):
                load(folder)


def refused(path: Path, load: Any) -> str:
    with pytest.raises(RuntimeUnavailable) as caught:
        load(path)
    assert str(caught.value).startswith("model 'mini' cannot be served: ")
    return str(caught.value)


def test_weights_that_are_no_weights(folder: Path, load: Any) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "its weights do not load" in refused(folder, load)


def test_weights_of_another_model(folder: Path, load: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert "its weights file lacks 16 tensors of the model, encoder.layer.2" in refused(folder, load)


def test_a_tokenizer_that_is_not_there(folder: Path, load: Any) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert "its tokenizer does not load" in refused(folder, load)


def test_an_encoder_decoder(transformer_folder: Any, tmp_path: Path, load: Any) -> None:
    folder = tiny.legacy(transformer_folder("bart"), tmp_path / "mini", pooling={})
    assert "encoder-decoder models of type 'bart'" in refused(folder, load)


def test_parts_that_do_not_fit_together(transformer_folder: Any, tmp_path: Path, load: Any) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    folder = tiny.modern(transformer_folder("bert"), tmp_path / "mini", Pooling(32), Dense(20, 8))
    assert "its parts do not fit" in refused(folder, load)
    config = folder / "2_Dense/config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"in_features": 32}))
    assert "its dense layer 2_Dense does not load" in refused(folder, load)
    config.write_text(json.dumps(content | {"activation_function": "torch.nn.functional"}))
    assert "no activation 'functional'" in refused(folder, load)


def test_code_in_a_folder_is_not_run(folder: Path, load: Any, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    (folder / "modeling.py").write_text(f"open({str(trap)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "modeling.C", "AutoModel": "modeling.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, load)
    assert not trap.exists()


def test_a_model_that_computes_nonsense_fails_the_call(folder: Path, load: Any) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    # The word "fox" has a broken vector; other words are fine.
    state["embeddings.word_embeddings.weight"][4 + tiny.WORDS.index("fox")] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    runtime = load(folder)
    assert np.isfinite(runtime.embed_sync(["a dog"]).vectors).all()
    with pytest.raises(RuntimeUnavailable, match="no finite vector for input 1"):
        runtime.embed_sync(["a dog", "the fox"])


async def test_a_cancelled_call_leaves_nothing_behind(folder: Path, load: Any) -> None:
    runtime = load(folder)
    calls = [asyncio.create_task(runtime.embed([f"fox {number}"] * 50)) for number in range(20)]
    await asyncio.sleep(0)
    for call in calls[1:]:
        call.cancel()
    done: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert done[0].vectors.shape == (50, 32)
    assert (await runtime.embed(["a dog"])).tokens == [4]
    await asyncio.sleep(0)
    assert runtime.snapshot()["queue"] == {"requests": 0, "items": 0, "tokens": 0, "oldest_s": 0.0}


async def test_closing_ends_every_thread(folder: Path) -> None:
    before = set(threading.enumerate())
    async with EmbeddingRuntime.load(folder) as runtime:
        await runtime.embed(["a dog"])
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        await runtime.embed(["a dog"])


def test_a_forgotten_runtime_ends_its_threads(folder: Path) -> None:
    before = set(threading.enumerate())
    runtime = EmbeddingRuntime.load(folder)
    runtime.embed_sync(["a dog"])
    del runtime
    gc.collect()
    deadline = time.monotonic() + 20
    while set(threading.enumerate()) != before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_runtime_serves_several_event_loops_and_threads(folder: Path, load: Any) -> None:
    runtime = load(folder)
    alone = runtime.embed_sync(["the quick fox"]).vectors

    def call() -> None:
        answer = asyncio.run(runtime.embed(["the quick fox"]))
        assert np.allclose(answer.vectors, alone, atol=1e-6)
        answers.append(answer)

    answers: list[Any] = []
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8


def test_the_rest_of_the_process_keeps_its_torch_threads(
    folder: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "available_cpus", lambda: 6)
    seen: list[int] = []

    def look() -> None:
        seen.append(torch.get_num_threads())

    here = torch.get_num_threads()
    load(folder).embed_sync(["a dog"] * 300)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert [*seen, torch.get_num_threads()] == [here, here]


def test_a_model_without_any_limit_gets_one(transformer_folder: Any, tmp_path: Path, load: Any) -> None:
    folder = tiny.legacy(transformer_folder("t5"), tmp_path, pooling={})
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config.pop("model_max_length") == 40
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert load(folder).max_tokens == 8192


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 2), (6, 4), (64, 4)])
def test_forward_threads_follow_the_processors(
    folder: Path, load: Any, monkeypatch: pytest.MonkeyPatch, cpus: int, workers: int
) -> None:
    monkeypatch.setattr(embeddings, "available_cpus", lambda: cpus)
    before = set(threading.enumerate())
    load(folder).embed_sync(["a dog"])
    begun = [thread.name for thread in set(threading.enumerate()) - before]
    # Its own ones: a model that an earlier test dropped may be closing just now, in a thread of that name.
    assert len([name for name in begun if name.startswith("embed") and name != "embed_close"]) == workers + 2


def test_a_program_that_never_closes_still_ends(folder: Path) -> None:
    code = (
        "import sys; from ipfs_accelerate_py.runtimes import EmbeddingRuntime\n"
        "runtime = EmbeddingRuntime.load(sys.argv[1])\n"
        "print(runtime.embed_sync(['a dog']).tokens)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "[4]\n", "")


def test_a_forked_child_of_a_program_with_a_model_still_ends(folder: Path) -> None:
    code = (
        "import os, sys; from ipfs_accelerate_py.runtimes import EmbeddingRuntime\n"
        "from ipfs_accelerate_py.errors import RuntimeUnavailable\n"
        "runtime = EmbeddingRuntime.load(sys.argv[1])\n"
        "runtime.embed_sync(['a dog'])\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try: runtime.embed_sync(['a dog'])\n"
        "    except RuntimeUnavailable as exc: sys.exit(7 if 'fork' in str(exc) else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), runtime.embed_sync(['a dog']).tokens)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "7 [4]\n"), done.stderr
