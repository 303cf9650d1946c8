"""``config``: what is configured and from where, whether a gateway's file is right, and templates."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.credentials import Credentials
from ipfs_accelerate_py.gateway import load_config
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import on_terminal


def _backend(shown: str, name: str) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {backend["name"]: backend for backend in json.loads(shown)["backends"]}
    return found[name]


# --- show --------------------------------------------------------------------------------------------------------


def test_shows_where_each_part_comes_from(invoke: Invoke, home: Path) -> None:
    (home / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:1/v1\nIPFS_ACCELERATE_BACKEND=openai\n")
    credentials = home / ".ipfs_api_credentials"
    credentials.write_text(f"GROQ_API_KEY={KEY}\nIPFS_ACCELERATE_MODEL=gpt-4o\n")
    credentials.chmod(0o600)
    shown = invoke("config", "--json", env={"OPENAI_API_KEY": KEY, "OPENAI_API_KEY_2": KEY + "2"}).stdout
    openai, groq, llvm = (_backend(shown, name) for name in ("openai", "groq", "llvm"))
    assert openai["keys"] == [
        {"name": "OPENAI_API_KEY", "source": "environment"},
        {"name": "OPENAI_API_KEY_2", "source": "environment"},
    ]
    assert (openai["base_url"], openai["base_url_source"]) == ("http://127.0.0.1:1/v1", ".env")
    assert groq["keys"] == [{"name": "GROQ_API_KEY", "source": str(credentials)}]
    assert groq["base_url_source"] is None
    assert [each["configured"] for each in (openai, groq, llvm)] == [True, True, False]
    found = json.loads(shown)
    assert found["default_backend"] == {"name": "openai", "source": ".env"}
    assert found["default_model"] == {"name": "gpt-4o", "source": "~/.ipfs_api_credentials"}


def test_in_a_pipe_it_is_tabs(invoke: Invoke) -> None:
    lines = invoke("config", "show", env={"LLVM_API_ENDPOINT": "http://me:secret@127.0.0.1:1/v1?key=s"}).stdout
    assert "llvm\tyes\thttp://127.0.0.1:1/v1\tenvironment\t\t\n" in lines
    assert "secret" not in lines
    assert "openai\tno\thttps://api.openai.com/v1\t\t\t\n" in lines


def test_on_a_terminal_it_says_what_to_set(home: Path) -> None:
    with on_terminal("config", env={"GROQ_API_KEY": KEY, "COLUMNS": "200"}) as shown:
        assert shown.end() == 0
        assert re.search(r"openai +no .*none: set OPENAI_API_KEY", shown.text)
        assert re.search(r"groq +yes .*GROQ_API_KEY \(from environment\)", shown.text)
        assert re.search(r"llvm +no .*\(set LLVM_API_ENDPOINT\)", shown.text)
        assert "Default backend: groq\n" in shown.text
        assert KEY not in shown.text


def test_a_file_that_others_can_read_is_an_error(invoke: Invoke, home: Path) -> None:
    credentials = home / ".ipfs_api_credentials"
    credentials.write_text(f"OPENAI_API_KEY={KEY}\n")
    credentials.chmod(0o644)
    result = invoke("config")
    assert result.exit_code == 2
    assert f"chmod 600 {credentials}" in result.stderr


# --- check -------------------------------------------------------------------------------------------------------

GOOD = """\
gateway:
  api_key: os.environ/GATEWAY_KEY
litellm_settings:
  telemetry: false
model_list:
  - model_name: fast
    litellm_params: {model: groq/llama, api_key: os.environ/GROQ_API_KEY}
backends:
  local:
"""


def test_a_right_file(invoke: Invoke, home: Path) -> None:
    (home / "good.yaml").write_text(GOOD)
    keys = {"GATEWAY_KEY": KEY, "GROQ_API_KEY": KEY}
    result = invoke("config", "check", "good.yaml", env=keys)
    assert result.exit_code == 0
    assert result.stdout == "fast\tgroq/llama\nlocal/*\tevery model of local\n"
    warning, verdict = result.stderr.splitlines()
    assert warning.startswith("warning: good.yaml:4: litellm_settings.telemetry:")
    assert verdict == "good.yaml is right; it serves 2 entries"
    found = json.loads(invoke("config", "check", "good.yaml", "--json", env=keys).stdout)
    assert found["valid"] is True
    assert found["models"] == [{"name": "fast", "backend": "groq", "model": "llama"}]


ALIASES = """\
model_list:
  - name: smart
    targets: [{model: openai/a, api_key: k}, {model: groq/b, api_key: k}]
    fallbacks: [cheap]
  - {name: cheap, model: groq/c, api_key: k, weight: 2}
  - {name: cheap, model: groq/d, api_key: k, strategy: weighted}
keys: [{name: a, key: k1, tenant: t}, {name: b, key: k2, tenant: t}]
cache: {exact: true}
"""


def test_aliases_and_keys_are_shown(invoke: Invoke, home: Path) -> None:
    (home / "aliases.yaml").write_text(ALIASES)
    result = invoke("config", "check", "aliases.yaml")
    assert result.stdout == "smart\topenai/a > groq/b, then cheap\ncheap\tgroq/c | groq/d (weighted)\n"
    assert "2 virtual keys of 1 tenant" in result.stderr
    assert "switched on: exact cache" in result.stderr
    found = json.loads(invoke("config", "check", "aliases.yaml", "--json").stdout)
    assert found["aliases"][0] == {
        "name": "smart", "targets": ["openai/a", "groq/b"], "strategy": "order", "fallbacks": ["cheap"],
    }  # fmt: skip
    assert found["keys"] == [{"name": "a", "tenant": "t"}, {"name": "b", "tenant": "t"}]
    (home / "aliases.yaml").write_text(ALIASES.replace("[cheap]", "[chaep]"))
    wrong = invoke("config", "check", "aliases.yaml")
    assert wrong.exit_code == 2
    assert "aliases.yaml:4: model_list[0].fallbacks[0]: there is no name 'chaep'" in wrong.stderr


def test_a_wrong_file_is_told_line_by_line(invoke: Invoke, home: Path) -> None:
    (home / "bad.yaml").write_text(GOOD.replace("  api_key:", "  prot: 8000\n  api_key:"))
    result = invoke("config", "check", "bad.yaml", env={"GATEWAY_KEY": KEY})
    assert (result.exit_code, result.stdout) == (2, "")
    first, *listed = result.stderr.splitlines()
    assert first == "error: the configuration has 2 problems:"
    assert listed[0].startswith("  bad.yaml:2: gateway.prot:")
    assert "port" in listed[0]
    assert listed[1].startswith("  bad.yaml:8: model_list[0].litellm_params.api_key: the variable GROQ_API_KEY")
    said = json.loads(invoke("config", "check", "bad.yaml", "--json").stderr)["error"]
    assert "bad.yaml:2" in said["message"]


@pytest.mark.parametrize("file", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read(invoke: Invoke, file: str) -> None:
    result = invoke("config", "check", file)
    assert result.exit_code == 2
    assert f"{file} cannot be read" in result.stderr


# --- template ----------------------------------------------------------------------------------------------------


def test_the_template_for_keys(invoke: Invoke, home: Path) -> None:
    assert invoke("config", "template", "--output", ".ipfs_api_credentials").exit_code == 0
    file = home / ".ipfs_api_credentials"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == invoke("config", "template", "credentials").stdout
    assert invoke("config").exit_code == 0  # a file made so can be used
    again = invoke("config", "template", "--output", ".ipfs_api_credentials")
    assert again.exit_code == 2
    assert "is left as it is" in again.stderr


def test_the_gateway_template_is_right(invoke: Invoke, home: Path) -> None:
    assert invoke("config", "template", "gateway", "--output", "gateway.yaml").exit_code == 0
    assert (home / "gateway.yaml").read_text() == invoke("config", "template", "gateway").stdout
    assert invoke("config", "check", "gateway.yaml").exit_code == 0
    again = invoke("config", "template", "gateway", "--output", "gateway.yaml")
    assert again.exit_code == 2
    assert "is left as it is" in again.stderr
    assert invoke("config", "template", "gateway", "--output", "no/such/folder").exit_code == 2


def test_all_that_the_gateway_template_offers_is_right(invoke: Invoke, home: Path) -> None:
    """Whoever takes the # away from its lines gets what they say."""
    text = invoke("config", "template", "gateway").stdout
    (home / "all.yaml").write_text(re.sub(r"^( *)#(?=[a-z-]|  )", r"\1", text, flags=re.MULTILINE))
    names = ("GATEWAY_KEY", "GROQ_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "SEARCH_TEAM_KEY")
    environ = dict.fromkeys(names, KEY)
    config = load_config("all.yaml", environ=environ, credentials=Credentials(environ=environ))
    assert [entry.name for entry in config.models] == ["fast", "small-embeddings"]
    assert {entry.name: len(entry.targets) for entry in config.aliases} == {"mine": 1, "smart": 2}
    assert [key.name for key in config.keys] == ["search-team"]
    assert sorted(config.features) == ["alerts", "exact_cache", "ledger", "single_flight"]
    assert [entry.backend for entry in config.backends] == ["groq", "claude", "ollama", "llvm"]
    assert (config.host, config.port, config.preload) == ("127.0.0.1", 8000, ("all-MiniLM-L6-v2",))
    assert [key.name for key in config.api_keys] == ["GATEWAY_KEY"]
    assert config.settings["queue_size"] == 1000
    assert config.warnings == ()
