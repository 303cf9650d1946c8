"""Configurations: what they mean, and that a wrong one is refused whole, with file, line, field and the fix."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.credentials import Credentials
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway import GatewayConfig, load_config
from ipfs_accelerate_py.gateway.table import ModelTable
from tests.conftest import ROOT

SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str, environ: Mapping[str, str] | None = None, **overrides: Any) -> GatewayConfig:
        path = tmp_path / "gateway.yaml"
        path.write_text(text)
        places = Credentials(environ=environ or {}, dotenv_path=None, home=None)
        return load_config(path, environ=environ or {}, overrides=overrides, credentials=places)

    return load


def problems(load: Any, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load(text, environ)
    assert SECRET not in str(refused.value)
    first, *rest = str(refused.value).split("\n")
    assert first.startswith("the configuration has ")
    return [line.strip() for line in rest]


# --- what it means -----------------------------------------------------------------------------------------------


def test_as_litellm_users_have_it(load: Any) -> None:
    config = load(
        """
        model_list:
          - model_name: gpt-4o
            litellm_params:
              model: openai/gpt-4o-2024-11-20
              api_base: https://gateway.example/v1
              api_key: os.environ/MY_KEY
              rpm: 60
              tpm: 9000
              timeout: 30
              max_retries: 1
              organization: org-1
          - model_name: llama
            litellm_params: {model: hosted_vllm/meta-llama/Llama-3, api_base: "http://10.0.0.5:8000/v1/"}
        general_settings:
          master_key: os.environ/MASTER
        litellm_settings:
          num_retries: 7
          request_timeout: 50
        """,
        {"MY_KEY": SECRET, "MASTER": "sk-master"},
    )
    first, second = config.models
    assert (first.name, first.model, first.target.backend) == ("gpt-4o", "gpt-4o-2024-11-20", "openai")
    assert first.target.base_url == "https://gateway.example/v1"
    assert {name: key.reveal() for name, key in (first.target.keys or {}).items()} == {"MY_KEY": SECRET}
    assert first.target.headers == {"OpenAI-Organization": "org-1"}
    assert first.target.settings == {
        "requests_per_minute": 60.0,
        "tokens_per_minute": 9000.0,
        "total_timeout": 30.0,
        "max_retries": 1,
    }
    assert (second.model, second.target.backend) == ("meta-llama/Llama-3", "llvm")
    assert second.target.base_url == "http://10.0.0.5:8000/v1"
    assert second.target.keys == {}
    assert config.settings == {"max_retries": 7, "total_timeout": 50.0}
    assert [(key.name, key.secret.reveal()) for key in config.api_keys] == [("MASTER", "sk-master")]
    assert (config.environment, config.local) == (False, False)


def test_our_own_way(load: Any) -> None:
    config = load(
        """
        settings: {max_concurrent_requests: 50, idle_timeout: 20}
        model_list:
          - name: fast
            model: groq/llama-3.1-8b-instant
            settings: {requests_per_minute: 30}
          - name: small
            model: local/all-MiniLM-L6-v2
        backends:
          openai:
            api_key: [os.environ/A, os.environ/B]
            base_url: https://api.example/v1
          groq:
          claude: {api_key: os.environ/A, options: {max_tokens: 8192, auth_style: bearer}}
        gateway:
          host: 0.0.0.0
          port: 9000
          api_keys: [one, two]
          shutdown_timeout: 5
          local: true
        """,
        {"A": "key-a", "B": "key-b"},
    )
    assert [(entry.name, entry.model, entry.target.backend) for entry in config.models] == [
        ("fast", "llama-3.1-8b-instant", "groq"),
        ("small", "all-MiniLM-L6-v2", "local"),
    ]
    openai, groq, claude = config.backends
    assert sorted(openai.keys or {}) == ["A", "B"]
    assert (groq.backend, groq.keys, groq.base_url) == ("groq", None, None)
    assert claude.settings == {"max_tokens": 8192, "auth_style": "bearer"}
    opened = ModelTable(config).whole["claude"]
    assert (opened.options["max_tokens"], opened.options["auth_style"]) == (8192, "bearer")
    assert opened.settings.max_concurrent_requests == 50
    assert (config.host, config.port, config.shutdown_timeout, config.local) == ("0.0.0.0", 9000, 5.0, True)
    assert len(config.api_keys) == 2
    assert config.settings == {"max_concurrent_requests": 50, "idle_timeout": 20.0}


def test_yaml_anchors_and_merges(load: Any) -> None:
    config = load(
        """
        model_list:
          - model_name: a
            litellm_params: &base {model: openai/a, api_base: "http://127.0.0.1:1/v1", api_key: none, rpm: 5}
          - model_name: b
            litellm_params: {<<: *base, model: openai/b}
        """
    )
    assert [(entry.model, entry.target.settings) for entry in config.models] == [
        ("a", {"requests_per_minute": 5.0}),
        ("b", {"requests_per_minute": 5.0}),
    ]


def test_all_models_of_a_backend(load: Any) -> None:
    config = load("model_list: [{model_name: 'groq/*', litellm_params: {model: 'groq/*', api_key: k}}]")
    [entry] = config.backends
    assert (config.models, entry.backend) == ((), "groq")


def test_without_a_file(tmp_path: Path) -> None:
    config = load_config(environ={}, credentials=Credentials(environ={}, dotenv_path=None, home=None))
    assert config == GatewayConfig()
    assert (config.host, config.port, config.environment, config.local) == ("127.0.0.1", 8000, True, True)


def test_an_empty_file_is_like_none(load: Any) -> None:
    assert load("# nothing yet\n") == GatewayConfig()


def test_flags_win_over_variables_and_those_over_the_file(load: Any) -> None:
    prefix = "IPFS_ACCELERATE_GATEWAY_"
    environ = {f"{prefix}PORT": "7001", f"{prefix}HOST": "::1", f"{prefix}API_KEY": "sk-env", f"{prefix}LOCAL": "false"}
    config = load("gateway: {port: 7000, host: 10.0.0.1, body_timeout: 9, api_key: sk-file}", environ, port=7002)
    assert (config.port, config.host, config.body_timeout, config.local) == (7002, "::1", 9.0, False)
    assert [(key.name, key.secret.reveal()) for key in config.api_keys] == [(f"{prefix}API_KEY", "sk-env")]
    config = load("", {f"{prefix}PRELOAD": "a, b"}, api_key="sk-flag", host=None)
    assert config.preload == ("a", "b")
    assert [key.secret.reveal() for key in config.api_keys] == ["sk-flag"]


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("gateway: {port: 7003}")
    assert load_config(environ={"IPFS_ACCELERATE_GATEWAY_CONFIG": str(path)}).port == 7003


def test_variables_are_looked_up_where_keys_are(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"FROM_FILE={SECRET}\n")
    path = tmp_path / "gateway.yaml"
    path.write_text("model_list: [{name: a, model: openai/a, api_key: os.environ/FROM_FILE}]")
    places = Credentials(environ={}, dotenv_path=tmp_path / ".env", home=None)
    [entry] = load_config(path, environ={}, credentials=places).models
    assert (entry.target.keys or {})["FROM_FILE"].reveal() == SECRET


# --- what is wrong with it ---------------------------------------------------------------------------------------


def test_all_problems_at_once_with_their_lines(load: Any) -> None:
    found = problems(
        load,
        f"""model_list:
  - model_name: a
    litellm_params:
      model: openai/a
      api_base: ftp://nowhere
      api_key: {SECRET}
      tmeout: 5
  - litellm_params: {{model: openai/b}}
  - model_name: c
    litellm_params: {{model: bedrock/c, api_key: os.environ/NOT_SET}}
  - model_name: a
    model: groq/a
settings:
  max_retries: many
gateway:
  prot: 8000
  host: 5
modell_list: []
""",
    )
    expected = [
        ("5: model_list[0].litellm_params.api_base: must be a URL that begins with http:// or https://",),
        ("7: model_list[0].litellm_params.tmeout: ", "did you mean 'timeout'?"),
        ("8: model_list[1]: has no model_name",),
        (
            "10: model_list[2].litellm_params.model: there is no backend 'bedrock'",
            "openai/<model> with its own api_base",
        ),
        ("10: model_list[2].litellm_params.api_key: the variable NOT_SET is not set", "export it"),
        ("14: settings.max_retries: ", "must be a whole number"),
        ("16: gateway.prot: ", "did you mean 'port'?"),
        ("17: gateway.host: must be a host name",),
        ("18: modell_list: ", "did you mean 'model_list'?"),
    ]
    for place, *words in expected:
        assert [line for line in found if line.startswith(f"gateway.yaml:{place}") and all(w in line for w in words)], (
            place,
            found,
        )
    assert len(found) == len(expected)
    assert found == sorted(found, key=lambda line: int(line.split(":")[1]))


def test_a_backends_own_key_is_not_sent_elsewhere(load: Any) -> None:
    """`OPENAI_API_KEY` is for OpenAI, and not for whatever address stands in a file."""
    text = "model_list: [{model_name: a, litellm_params: {model: openai/a, api_base: 'http://elsewhere/v1'}}]"
    [problem] = problems(load, text, {"OPENAI_API_KEY": SECRET})
    assert "has no api_key beside it" in problem
    assert "OPENAI_API_KEY" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model_list: {a: b}", "gateway.yaml:1: model_list: must be a list"),
        ("model_list: [a]", "model_list[0]: must be a mapping"),
        ("gateway: 5", "gateway: must be a mapping"),
        ("- a", "gateway.yaml:1: the document must be a mapping"),
        ("a: [\n", "gateway.yaml:2: this is not valid YAML"),
        ("gateway:\n\tport: 1", "gateway.yaml:2: this is not valid YAML"),
        ("gateway: {port: 1}\ngateway: {port: 2}", "gateway.yaml:2: gateway: is here twice (first in line 1)"),
        ("gateway: {port: 99999}", "port number"),
        ("gateway: {port: true}", "port number"),
        ("gateway: {body_timeout: 0}", "more than 0"),
        ("gateway: {body_timeout: .inf}", "number of seconds"),
        ("gateway: {max_body_bytes: 5}", "at least 1024"),
        ("gateway: {local: maybe}", "true or false"),
        ("gateway: {preload: {a: b}}", "a model's name or a list"),
        ("gateway: {api_key: ''}", "is empty"),
        ("gateway: {api_key: a, api_keys: b}", "keep one of them"),
        ("model_list: [{name: a, model: local/a, base_url: 'http://h/v1', api_key: k}]", "runs in this process"),
        ("model_list: [{name: a, model: openai/, api_key: k}]", "must be a backend and its model"),
        ("model_list: [{name: a, api_key: k}]", "has no model"),
        ("model_list: [{name: '*', model: 'openai/a'}]", "all models of one backend"),
        ("model_list: [{name: a, model: openai/a, base_url: 'http://u:p@h/v1', api_key: k}]", "user name or password"),
        (
            "model_list: [{name: a, model: openai/a, base_url: 'http://h/v1?key=x', api_key: k}]",
            "must not have a query",
        ),
        ("model_list: [{name: a, model: openai/a, headers: {'X-A': \"b\\nc\"}}]", "cannot be an HTTP header"),
        ("backends: {opneai: {}}", "there is no backend 'opneai'"),
        ("backends: {s3_kit: }", "keeps files"),
        ("backends: {claude: {options: {max_token: 5}}}", "did you mean 'max_tokens'?"),
        ("backends: {claude: {options: {max_tokens: [5]}}}", "must be a text, a number, true or false"),
        ("backends: {groq: {options: {model: a}}}", "is not a field of this section"),
        ("settings: {max_retrys: 5}", "did you mean 'max_retries'?"),
        ("environment_variables: {A: b}", "write them into .env"),
        ("general_settings: {custom_auth: a.b}", "everybody could ask"),
        ("litellm_settings: {guardrails: []}", "guardrails: is not supported"),
        (
            "model_list: [{model_name: a, litellm_params: {model: openai/a, mock_response: hi}}]",
            "nothing here makes up",
        ),
        ("model_list: [{model_name: a, litellm_params: {model: openai/a, temperature: 0}}]", "option of requests"),
        (
            "model_list: [{model_name: a, api_key: k, litellm_params: {model: openai/a}}]",
            "stands beside litellm_params",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(load: Any, text: str, words: str) -> None:
    found = problems(load, text)
    assert words in "\n".join(found)
    assert all(line.startswith("gateway.yaml:") for line in found)


def test_what_has_no_effect_is_a_warning(load: Any) -> None:
    config = load(
        """
        model_list:
          - model_name: a
            model_info: {mode: chat}
            litellm_params: {model: openai/a, api_key: k, drop_params: true}
        general_settings: {database_url: postgres://x}
        litellm_settings: {set_verbose: true}
        router_settings: {redis_host: cache.example}
        """
    )
    assert [warning.split(": ")[1] for warning in config.warnings] == [
        "general_settings.database_url",
        "litellm_settings.set_verbose",
        "router_settings.redis_host",
        "model_list[0].litellm_params.drop_params",
    ]


def test_variables_that_are_wrong(load: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"IPFS_ACCELERATE_GATEWAY_PORT: must be a port number"):
        load("", {"IPFS_ACCELERATE_GATEWAY_PORT": "http"})


def test_flags_that_are_wrong(load: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"port: must be a port number"):
        load("", port=-1)
    with pytest.raises(ConfigurationError, match=r"has no field 'prot'"):
        load("", prot=1)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config(tmp_path / name, environ={})


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_config(tmp_path / "odd.yaml", environ={})


def test_no_key_shows_itself(load: Any) -> None:
    config = load(
        f"""
        model_list: [{{name: a, model: openai/a, api_key: {SECRET}, headers: {{X-Key: {SECRET}}}}}]
        gateway: {{api_key: {SECRET}}}
        """
    )
    table = ModelTable(config)
    shown = [config, config.models[0], config.api_keys[0], table.backends["openai"], table.find("a")]
    assert all(SECRET not in f"{each!r} {each}" for each in shown)
    assert SECRET not in str(table.backends["openai"].snapshot())
    assert SECRET not in str(dataclasses.asdict(config)["models"][0]["target"]["keys"])


def test_the_example_is_right() -> None:
    """Every line of it, commented ones too."""
    example = (ROOT / "examples" / "gateway.yaml").read_text()
    names = re.findall(r"os\.environ/(\w+)", example)
    environ = {name: f"key-of-{name.lower()}" for name in names}
    environ["LEDGER_URL"] = "postgresql://host/database"
    environ["ALERT_WEBHOOK"] = "https://hooks.example/x"
    for text in (example, "\n".join(line.replace("#: ", "", 1) for line in example.splitlines())):
        path = Path("gateway.yaml")
        path.write_text(text)
        config = load_config(path, environ=environ, credentials=Credentials(environ=environ, home=None))
        assert config.models or config.aliases
        assert not config.warnings
        assert ModelTable(config).find("gpt-4o") is not None
    assert {"smart", "long", "gpt-4o"} <= {alias.name for alias in config.aliases}
    assert sorted(config.features) == [
        "alerts", "batching", "exact_cache", "hedging", "ledger", "limits", "log_calls", "prices", "semantic_cache",
        "single_flight", "tracing",
    ]  # fmt: skip
