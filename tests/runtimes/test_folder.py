"""What a folder's JSON files say, in the spellings of old and new sentence-transformers; what is refused, and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.folder import DenseStep, NormalizeStep, PoolingStep, read_folder

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules."


def module(kind: str, path: str = "", package: str = OLD) -> dict[str, Any]:
    return {"idx": 0, "name": "0", "path": path, "type": f"{package}{kind}"}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder of JSON files; a file given as None is left out, and other files are overwritten."""

    def make(**files: Any) -> Path:
        content: dict[str, Any] = {
            "modules": [module("Transformer"), module("Pooling", "1_Pooling"), module("Normalize", "2_Normalize")],
            "config": {"model_type": "bert"},
            "1_Pooling/config": {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True},
            "2_Dense/config": {"in_features": 8, "out_features": 4},
        }
        for name, value in {**content, **files}.items():
            file = tmp_path / f"{name}.json"
            file.parent.mkdir(exist_ok=True)
            if value is not None:
                file.write_text(value if isinstance(value, str) else json.dumps(value))
        (tmp_path / "model.safetensors").touch()
        (tmp_path / "2_Dense/pytorch_model.bin").touch()
        return tmp_path

    return make


def test_the_layout_of_most_folders_on_the_hub(folder: Callable[..., Path]) -> None:
    read = read_folder(
        folder(
            sentence_bert_config={"max_seq_length": 256, "do_lower_case": True},
            config_sentence_transformers={
                "__version__": {"sentence_transformers": "2.0.0"},
                "prompts": {"query": "query: ", "passage": "passage: "},
                "default_prompt_name": "passage",
            },
        ),
        "mini",
    )
    assert (read.name, read.max_tokens, read.lower_case) == ("mini", 256, True)
    assert read.pooling == PoolingStep(("mean",), include_prompt=True)
    assert read.steps == (NormalizeStep(),)
    assert read.prompts == {"query": "query: ", "document": "", "passage": "passage: "}
    assert read.default_prompt == "passage"


def test_nothing_but_the_chain_is_needed(folder: Callable[..., Path]) -> None:
    read = read_folder(folder(modules=[module("Transformer"), module("Pooling", "1_Pooling")]))
    assert (read.max_tokens, read.lower_case, read.default_prompt, read.steps) == (None, False, None, ())


def test_the_newer_spelling(folder: Callable[..., Path]) -> None:
    base = "sentence_transformers.base.modules."
    read = read_folder(
        folder(
            modules=[
                module("transformer.Transformer", package=base),
                module("pooling.Pooling", "1_Pooling", NEW),
                module("dense.Dense", "2_Dense", base),
                module("normalize.Normalize", "3_Normalize", base),
            ],
            sentence_bert_config={
                "transformer_task": "feature-extraction",
                "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
                "module_output_name": "token_embeddings",
                "processor_kwargs": {"padding_side": "left"},
            },
            **{
                "1_Pooling/config": {
                    "embedding_dimension": 8,
                    "pooling_mode": ["cls", "max"],
                    "include_prompt": False,
                },
                "2_Dense/config": {
                    "in_features": 16,
                    "out_features": 4,
                    "bias": False,
                    "activation_function": "torch.nn.modules.linear.Identity",
                    "module_input_name": "sentence_embedding",
                    "module_output_name": None,
                    "use_residual": True,
                },
            },
        )
    )
    assert read.pooling == PoolingStep(("cls", "max"), include_prompt=False)
    assert read.tokenizer_options == {"padding_side": "left"}
    dense, last = read.steps
    assert last == NormalizeStep()
    assert dense == DenseStep(read.path / "2_Dense/pytorch_model.bin", 16, 4, False, "Identity", True)


def test_several_old_style_modes_are_concatenated_in_the_packages_own_order(folder: Callable[..., Path]) -> None:
    modes = {
        "pooling_mode_lasttoken": True,
        "pooling_mode_weightedmean_tokens": True,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_cls_token": True,
    }
    read = read_folder(folder(**{"1_Pooling/config": modes}))
    assert read.pooling.modes == ("cls", "weightedmean", "lasttoken")


DENSE = [module("Transformer"), module("Pooling", "1_Pooling"), module("Dense", "2_Dense")]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"modules": None}, "no modules.json"),
    ({"modules": "{"}, "modules.json cannot be read"),
    ({"modules": {}}, "not a list of modules"),
    ({"modules": []}, "not a list of modules"),
    ({"modules": [module("WordEmbeddings")]}, "module type 'sentence_transformers.models.WordEmbeddings' is not known"),
    ({"modules": [module("Transformer", package="my_code.")]}, "module type 'my_code.Transformer' is not known"),
    ({"modules": [module("Transformer")]}, "its modules are Transformer, where Transformer > Pooling"),
    ({"modules": [module("Pooling"), module("Transformer")]}, "its modules are Pooling > Transformer"),
    ({"modules": [module("Transformer"), module("Pooling", "../1")]}, "module path '../1' leaves the folder"),
    ({"modules": [module("Transformer", "/etc"), module("Pooling")]}, "module path '/etc' leaves the folder"),
    ({"modules": [module("Transformer", "0_T"), module("Pooling")]}, "no config.json"),
    ({"config": None}, "no config.json"),
    ({"adapter_config": {}}, "adapter"),
    ({"sentence_bert_config": []}, "sentence_bert_config.json is not a JSON object"),
    ({"sentence_bert_config": {"transformer_task": "fill-mask"}}, "computes 'fill-mask'"),
    ({"sentence_bert_config": {"modality_config": {"image": {}}}}, "not token vectors from text"),
    (
        {"sentence_bert_config": {"modality_config": {"text": {"method": "get_text_features"}}}},
        "not token vectors from text",
    ),
    ({"sentence_bert_config": {"modality_config": {"text": {}, "message": {}}}}, "chat template"),
    ({"sentence_bert_config": {"module_output_name": "sentence_embedding"}}, "puts out 'sentence_embedding'"),
    ({"sentence_bert_config": {"processing_kwargs": {"text": {"max_length": 3}}}}, "processing options"),
    ({"sentence_bert_config": {"model_args": {"rope_theta": 3}}}, "model options"),
    ({"sentence_bert_config": {"tokenizer_args": {"vocab_file": "x"}}}, "tokenizer options"),
    ({"sentence_bert_config": {"max_seq_length": "long"}}, "usual shape"),
    ({"config_sentence_transformers": {"prompts": ["query: "]}}, "usual shape"),
    ({"config_sentence_transformers": {"default_prompt_name": "poem"}}, "default prompt 'poem'"),
    ({"1_Pooling/config": {"pooling_mode": "attention"}}, "pooling modes"),
    ({"modules": DENSE, "2_Dense/config": {"in_features": 8}}, "no in_features and out_features"),
    (
        {"modules": DENSE, "2_Dense/config": {"in_features": 8, "out_features": 4, "activation_function": "os.system"}},
        "activation 'os.system'",
    ),
    (
        {"modules": DENSE, "2_Dense/config": {"module_input_name": "token_embeddings"}},
        "works on 'token_embeddings'",
    ),
    ({"2_Normalize/config": {"module_input_name": "token_embeddings"}}, "works on 'token_embeddings'"),
]


@pytest.mark.parametrize(("files", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_cannot_be_computed_here_is_refused_with_the_reason(
    folder: Callable[..., Path], files: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        read_folder(folder(**files), "mini")
    assert str(caught.value).startswith("model 'mini' cannot be served: ")
    assert reason in str(caught.value)


def test_missing_weights_are_named(folder: Callable[..., Path]) -> None:
    path = folder(modules=DENSE)
    (path / "2_Dense/pytorch_model.bin").unlink()
    with pytest.raises(RuntimeUnavailable, match="2_Dense has no weights"):
        read_folder(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(RuntimeUnavailable, match=r"it has no weights .looked for model\.safetensors"):
        read_folder(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="there is no folder"):
        read_folder(tmp_path / "none")
