"""Names to folders, by the file system alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes import find_model, list_models, models


def write(folder: Path, *, servable: bool = True) -> Path:
    kinds = ("Transformer", "Pooling") if servable else ("BoW",)
    modules = [
        {"path": "" if kind == "Transformer" else kind, "type": f"sentence_transformers.models.{kind}"}
        for kind in kinds
    ]
    folder.mkdir(parents=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder


def cached(hub: Path, repository: str, revision: str, *, main: bool = True) -> Path:
    folder = hub / f"models--{repository.replace('/', '--')}"
    if main:
        (folder / "refs").mkdir(parents=True)
        (folder / "refs/main").write_text(revision)
    return write(folder / "snapshots" / revision)


@pytest.fixture(autouse=True)
def no_packages(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "minilm" not in request.fixturenames:
        monkeypatch.setattr(models, "_PACKAGED", ())


def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model(str(folder), environ={}) == folder
    assert find_model("./here", environ={}).resolve() == folder
    assert find_model("~/here", environ={}) == folder
    with pytest.raises(RuntimeUnavailable, match=r"neither a readable config\.json nor modules\.json"):
        find_model(str(tmp_path), environ={})


@pytest.mark.parametrize("name", ["/etc", "./here", "../here", "a/../../b", "~/here", "a\\b", "a\0b", "", "  "])
def test_a_name_from_outside_reaches_no_path(tmp_path: Path, name: str) -> None:
    write(tmp_path / "here")
    (tmp_path / "models").mkdir()
    with pytest.raises(RuntimeUnavailable):
        find_model(name, environ={"IPFS_ACCELERATE_MODELS": str(tmp_path / "models")}, allow_path=False)


def test_configured_folders_are_searched_in_order(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one/mini"), write(tmp_path / "two/mini")
    named = write(tmp_path / "two/acme/large")
    environ = {"IPFS_ACCELERATE_MODELS": os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two"), ""])}
    assert find_model("mini", environ=environ) == first
    assert find_model("acme/mini", environ=environ) == first
    assert find_model("acme/large", environ=environ) == named
    assert [(model.name, model.path) for model in list_models(environ={**environ, "HF_HOME": "/nonexistent"})] == [
        ("acme/large", named),
        ("mini", first),
    ]
    assert second.is_dir()


def test_the_hub_cache_is_read_where_its_variables_say(tmp_path: Path) -> None:
    main = cached(tmp_path / "hub", "acme/mini", "aaa")
    write(main.parent / "bbb")
    other = cached(tmp_path / "hub", "sentence-transformers/tiny", "ccc", main=False)
    for environ in ({"HF_HOME": str(tmp_path)}, {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HOME": "/nonexistent"}):
        assert find_model("acme/mini", environ=environ) == main
        assert find_model("tiny", environ=environ) == find_model("sentence-transformers/tiny", environ=environ) == other
    found = list_models(environ={"HF_HOME": str(tmp_path)})
    assert [(model.name, model.source, model.aliases) for model in found] == [
        ("acme/mini", "huggingface", ()),
        ("tiny", "huggingface", ("sentence-transformers/tiny",)),
    ]


def test_what_cannot_be_served_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path / "models/words", servable=False)
    good = write(tmp_path / "models/good")
    environ = {"IPFS_ACCELERATE_MODELS": str(tmp_path / "models"), "HF_HOME": str(tmp_path)}
    assert [model.path for model in list_models(environ=environ)] == [good]


def test_a_model_that_is_nowhere_tells_where_was_looked(tmp_path: Path) -> None:
    environ = {"IPFS_ACCELERATE_MODELS": str(tmp_path / "models"), "HF_HOME": str(tmp_path / "hf")}
    with pytest.raises(RuntimeUnavailable) as caught:
        find_model("acme/none", environ=environ)
    for place in ("models/acme/none", "models/none", "hf/hub/models--acme--none"):
        assert str(tmp_path / place) in str(caught.value)
    with pytest.raises(RuntimeUnavailable, match="IPFS_ACCELERATE_MODELS is not set"):
        find_model("none", environ={"HF_HOME": str(tmp_path)})


def test_the_packaged_model_goes_by_both_its_names(minilm: Path, tmp_path: Path) -> None:
    environ = {"HF_HOME": str(tmp_path)}
    assert find_model("sentence-transformers/all-MiniLM-L6-v2", environ=environ) == minilm
    (model,) = list_models(environ=environ)
    assert (model.name, model.path, model.source) == ("all-MiniLM-L6-v2", minilm, "package")
    assert model.aliases == ("sentence-transformers/all-MiniLM-L6-v2",)


def test_looking_for_models_imports_nothing_heavy(minilm: Path) -> None:
    code = (
        "import sys; from ipfs_accelerate_py.runtimes import find_model, list_models; list_models();"
        "find_model('all-MiniLM-L6-v2', environ={});"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'sentence_transformers', 'huggingface_hub'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
