"""What modules are made of, and which files are written, kept and refused."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable

pytest.importorskip("transformers", reason="the [local] extra is not installed")

from ipfs_accelerate_py.checkpoint_tests import generating, missing
from ipfs_accelerate_py.checkpoint_tests.generating import generate, header_of, make_module
from ipfs_accelerate_py.checkpoint_tests.kinds import KINDS
from ipfs_accelerate_py.runtimes.families.catalog import known_types
from ipfs_accelerate_py.runtimes.families.tasks import TASKS
from ipfs_accelerate_py.runtimes.models import mapped_models

ROOT = Path(__file__).resolve().parent.parent.parent


def test_there_is_a_kind_for_every_task() -> None:
    assert set(KINDS) == set(TASKS)


def test_modules_of_all_types_and_tasks_are_whole_and_formatted(tmp_path: Path) -> None:
    """Every type's names in one task's text or another's, every task's text for many types: as ruff wants it."""
    names = set()
    for model_type, task in zip(known_types(), cycle(["", *TASKS]), strict=False):
        text = generating.render(model_type, task, TASKS[task].auto[0] if task else "AutoModel")
        ast.parse(text)
        header = header_of(text)
        assert header is not None
        assert (header.type, header.changed) == (model_type, False)
        names.add(generating.file_name(model_type))
        (tmp_path / generating.file_name(model_type)).write_text(text, encoding="utf-8")
    assert len(names) == len(known_types())
    for command in (("check",), ("format", "--check")):
        told = [
            sys.executable,
            "-m",
            "ruff",
            *command,
            "--quiet",
            "--no-cache",
            "--config",
            str(ROOT / "pyproject.toml"),
        ]
        # S101: a test asserts. From where this library is not one's own, as its imports are sorted for.
        more = ("--ignore", "S101", "--output-format", "concise") if command == ("check",) else ()
        done = subprocess.run([*told, *more, "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[:2000]


@pytest.mark.parametrize(
    ("model_type", "task", "auto"),
    [
        ("bert", "fill-mask", "AutoModelForMaskedLM"),
        ("gpt2", "text-generation", "AutoModelForCausalLM"),
        ("whisper", "automatic-speech-recognition", "AutoModelForSpeechSeq2Seq"),
        ("vit", "image-classification", "AutoModelForImageClassification"),
        ("patchtst", "time-series-forecasting", "PatchTSTForPrediction"),
        ("tapas", "fill-mask", "AutoModelForMaskedLM"),
    ],
)
def test_a_module_is_of_its_types_own_task(model_type: str, task: str, auto: str) -> None:
    text = make_module(model_type)
    assert f'TASK = "{task}"' in text
    assert f'AUTO = "{auto}"' in text


def test_the_checkpoint_comes_from_the_environment_then_from_whoever_made_it_then_from_the_map() -> None:
    mapped = make_module("bert")
    assert 'VARIABLE = "IPFS_ACCELERATE_CHECKPOINT_BERT"' in mapped
    assert 'DEFAULT = "' + mapped_models()["bert"] + '"' in mapped
    assert 'DEFAULT = "/models/\\"mine\\""' in make_module("bert", '/models/"mine"')
    assert 'DEFAULT = ""' in make_module("data2vec-audio")


def test_a_type_without_a_task_is_asked_with_arrays() -> None:
    text = make_module("mimi")
    assert "TASK" not in text.replace("TASKS", "")
    assert "fit_sampler(model)" in text


def test_a_type_whose_task_is_not_served_is_asked_with_arrays() -> None:
    assert "fit_sampler(model)" in make_module("pop2piano")


def test_a_translation_is_asked_for_by_the_languages_of_the_checkpoint() -> None:
    found: dict[str, Any] = {"__name__": "made"}
    exec(make_module("mbart"), found)
    for codes in (["en_XX", "de_DE"], ["eng_Latn", "deu_Latn"], ["en", "de"], []):
        speaking = SimpleNamespace(src_lang="", get_vocab=lambda codes=codes: dict.fromkeys(["a", *codes], 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *a, told=speaking, **k: told)
            wanted = dict(zip(("src_lang", "tgt_lang"), codes, strict=False))
            assert found["languages"](Path()) == wanted


def test_a_backbone_is_loaded_by_its_own_class() -> None:
    """AutoBackbone would ask the network for a repository that is called as the folder."""
    assert 'AUTO = "VitPoseBackbone"' in make_module("vitpose_backbone")


def test_a_tower_that_nothing_makes_arrays_for_is_asked_with_arrays() -> None:
    assert "fit_sampler(model)" in make_module("smolvlm_vision")
    assert 'TASK = "image-feature-extraction"' in make_module("radio")


def test_answers_are_compared_without_the_order_of_equal_scores_and_pictures_without_rounding() -> None:
    def picture(grey: int) -> dict[str, Any]:
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (grey, grey, grey)).save(file, format="PNG")
        return {"image": {"data": file.getvalue()}}

    found: dict[str, Any] = {"__name__": "made"}
    exec(generating.render("swin2sr", "image-to-image", "AutoModelForImageToImage"), found)
    gap = found["gap"]
    one = [{"label": "a", "score": 0.3}, {"label": "b", "score": 0.300001}]
    assert gap({"labels": one}, {"labels": one[::-1]}) < 1e-5
    assert gap({"labels": one}, {"labels": [one[0], {"label": "c", "score": 0.3}]}) == float("inf")
    assert gap({"points": [[1, 2, 0.5], [3, 4, 0.5]]}, {"points": [[3, 4, 0.5], [1, 2, 0.5]]}) == 0
    assert gap({"tensors": [[1, 2], [3, 4]]}, {"tensors": [[3, 4], [1, 2]]}) > 0.1
    assert gap(picture(100), picture(101)) == 0
    assert gap(picture(100), picture(110)) > 0.03


def test_a_type_that_is_gone_is_refused_with_what_became_of_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"gone: Transformers removed it with 5\.0\.0.*nearest today: bert"):
        generate(["gpt2", "nezha"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_type_is_refused_with_those_nearly_called_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no model type 'brt'; did you mean .*bert"):
        generate(["brt"], tmp_path)
    with pytest.raises(ConfigurationError, match=r"no model type 'zzzzzzzz'$"):
        generate(["zzzzzzzz"], tmp_path)


def test_what_was_changed_is_kept_unless_forced(tmp_path: Path) -> None:
    def outcomes(*, force: bool = False) -> list[str]:
        return [each.outcome for each in generate(["bert", "gpt2"], tmp_path, force=force)]

    assert outcomes() == ["written", "written"]
    assert outcomes() == ["unchanged", "unchanged"]
    module = tmp_path / "test_bert.py"
    mine = module.read_text(encoding="utf-8").replace("the cat", "a horse") + "# mine\n"
    module.write_text(mine, encoding="utf-8")
    (tmp_path / "test_gpt2.py").write_text("# not generated\n", encoding="utf-8")
    assert outcomes() == ["kept", "kept"]
    assert module.read_text(encoding="utf-8") == mine
    assert outcomes(force=True) == ["updated", "updated"]
    assert "# mine" not in module.read_text(encoding="utf-8")


def test_an_unchanged_module_follows_the_template_and_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(["bert", "gpt2"], tmp_path)
    changed = tmp_path / "test_gpt2.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    types = ["bert", "gpt2", "vit"]
    assert [(e.type, e.state) for e in missing.list_missing(tmp_path, types)] == [("vit", "missing")]
    later = generating.VERSION + 1
    for module in (generating, missing):
        monkeypatch.setattr(module, "VERSION", later)
    assert [(e.type, e.state, e.changed) for e in missing.list_missing(tmp_path, types)] == [
        ("bert", "outdated", False),
        ("gpt2", "outdated", True),
        ("vit", "missing", False),
    ]
    assert [each.outcome for each in generate(types, tmp_path, checkpoint="here")] == ["updated", "kept", "written"]
    assert [each.type for each in missing.list_missing(tmp_path, types)] == ["gpt2"]


def test_every_type_is_missing_where_there_is_no_folder(tmp_path: Path) -> None:
    assert tuple(each.type for each in missing.list_missing(tmp_path / "none")) == known_types()
