"""Configurations of aliases, keys and features: ours, LiteLLM's as it is, and what is said of wrong ones."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.credentials import Credentials
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway import load_config
from ipfs_accelerate_py.gateway.table import ModelTable
from ipfs_accelerate_py.types import Priority
from tests.conftest import ROOT

from .aliased import read


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        read(text)
    return [line.strip() for line in str(refused.value).split("\n")[1:]]


# --- aliases -----------------------------------------------------------------------------------------------------


def test_litellm_s_configuration_as_it_is() -> None:
    """The parts that its documentation shows for load balancing and fallbacks."""
    config = read(
        """
        model_list:
          - model_name: gpt-3.5-turbo
            litellm_params: {model: openai/gpt-3.5-turbo, api_key: k1, rpm: 900, timeout: 30, stream_timeout: 5}
            model_info: {id: one, mode: chat, max_input_tokens: 16385}
          - model_name: gpt-3.5-turbo
            litellm_params: {model: openai/gpt-3.5-turbo, api_key: k2, rpm: 100, max_parallel_requests: 10}
          - model_name: gpt-4
            litellm_params:
              model: openai/gpt-4
              api_key: k1
              input_cost_per_token: 0.00003
              output_cost_per_token: 6e-05
          - model_name: claude
            litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: k3, weight: 2}
        router_settings:
          routing_strategy: usage-based-routing-v2
          num_retries: 2
          timeout: 100
          allowed_fails: 3
          cooldown_time: 30
          model_group_alias: {gpt-4-latest: gpt-4}
          fallbacks: [{gpt-3.5-turbo: [gpt-4]}]
          redis_host: cache.example
          enable_pre_call_checks: true
        litellm_settings:
          num_retries: 5
          request_timeout: 50
          context_window_fallbacks: [{gpt-4: [claude]}]
          content_policy_fallbacks: [{gpt-3.5-turbo: [claude]}]
          default_fallbacks: [claude]
        general_settings: {master_key: sk-1234}
        """
    )
    aliases = {alias.name: alias for alias in config.aliases}
    assert set(aliases) == {"gpt-3.5-turbo", "gpt-4", "claude", "gpt-4-latest"}
    first = aliases["gpt-3.5-turbo"]
    assert [target.options["weight"] for target in first.targets] == [900, 100]
    assert first.targets[0].options == {"weight": 900, "context_window": 16385, "name": "one"}
    assert first.targets[0].target.settings["first_content_timeout"] == 5
    assert first.targets[1].target.settings["max_concurrent_requests"] == 10
    assert first.options == {
        "strategy": "headroom", "fallbacks": ["gpt-4"], "content_policy_fallbacks": ["claude"],
    }  # fmt: skip
    assert aliases["gpt-4"].options == {"fallbacks": ["claude"], "context_fallbacks": ["claude"]}
    assert aliases["gpt-4"].targets[0].price == {"input_cost_per_token": 3e-05, "output_cost_per_token": 6e-05}
    assert aliases["gpt-4-latest"].targets == aliases["gpt-4"].targets
    assert aliases["claude"].options == {}
    assert config.settings == {
        "max_retries": 2, "total_timeout": 100.0, "circuit_failure_threshold": 4, "circuit_reset_timeout": 30.0,
    }  # fmt: skip
    warned = [warning.split(": ")[1] for warning in config.warnings]
    assert warned == ["router_settings.redis_host", "router_settings.enable_pre_call_checks"]
    table = ModelTable(config)
    assert table.router is not None
    assert [each.name for each in table.router.aliases["gpt-3.5-turbo"].path] == ["gpt-3.5-turbo", "gpt-4", "claude"]
    assert sorted(table.names()) == ["claude", "gpt-3.5-turbo", "gpt-4", "gpt-4-latest"]


def test_our_own_way() -> None:
    config = read(
        """
        model_list:
          - name: smart
            strategy: latency
            mid_stream: error
            sticky: true
            hedge: p95
            first_content_timeout: 6
            settings: {max_retries: 1}
            fallbacks: [cheap]
            targets:
              - {model: openai/gpt-4o, api_key: k, weight: 3, context_window: 128000, first_byte_timeout: 9}
              - {model: claude/sonnet, api_key: k, accepts_continuation: true, label: spare,
                 price: {input: 3, output: 15}}
            shadow: [{model: groq/llama, api_key: k}]
            shadow_share: 0.25
          - {name: cheap, model: groq/llama, api_key: k, settings: {requests_per_minute: 30}}
          - {name: alone, model: groq/other, api_key: k}
        router: {strategy: cost, health_check_interval: 30, mid_stream: continue}
        """
    )
    smart, cheap = config.aliases
    assert [model.name for model in config.models] == ["alone"]
    assert smart.options == {
        "strategy": "latency", "mid_stream": "error", "sticky": True, "hedge": "p95", "shadow_share": 0.25,
        "first_content_timeout": 6.0, "max_retries": 1, "fallbacks": ["cheap"],
    }  # fmt: skip
    assert [target.options for target in smart.targets] == [
        {"weight": 3.0, "context_window": 128000},
        {"accepts_continuation": True, "name": "spare"},
    ]
    assert smart.targets[0].target.settings == {"first_byte_timeout": 9.0}
    assert smart.targets[1].price == {"input": 3, "output": 15}
    assert [target.model for target in smart.shadow] == ["llama"]
    assert cheap.options == {}
    table = ModelTable(config)
    assert table.router is not None
    alias = table.router.aliases["smart"]
    assert (alias.mid_stream, alias.config.hedge, len(alias.shadows)) == ("error", "p95", 1)
    target = alias.targets[0]
    limits = target.backend.settings
    assert (limits.first_byte_timeout, limits.first_content_timeout, limits.max_retries) == (9.0, 6.0, 1)
    assert limits.max_concurrent_requests == 1000
    assert not table.find("smart").rescues  # type: ignore[union-attr]
    assert set(table.backends) >= {"openai/gpt-4o", "spare"}


def test_targets_in_entries_of_their_own() -> None:
    config = read(
        """
        model_list:
          - {name: smart, model: openai/a, api_key: k, strategy: weighted, weight: 2}
          - {name: smart, model: openai/b, api_key: k, strategy: weighted}
        """
    )
    [alias] = config.aliases
    assert (alias.options, [target.model for target in alias.targets]) == ({"strategy": "weighted"}, ["a", "b"])


def test_the_order_of_litellm_s_deployments() -> None:
    entries = "".join(
        f"  - {{model_name: a, litellm_params: {{model: openai/{name}, api_key: k{order}}}}}\n"
        for name, order in (("third", ""), ("second", ", order: 2"), ("first", ", order: 1"))
    )
    [alias] = read("model_list:\n" + entries).aliases
    assert [target.model for target in alias.targets] == ["first", "second", "third"]
    assert alias.options["strategy"] == "order"


def test_who_stands_in_for_everybody_but_itself() -> None:
    config = read(
        """
        model_list:
          - {name: a, model: openai/a, api_key: k}
          - {name: last, model: openai/b, api_key: k, fallbacks: [very-last]}
          - {name: very-last, model: openai/c, api_key: k}
        litellm_settings: {fallbacks: [{"*": [last]}]}
        """
    )
    assert {alias.name: alias.options.get("fallbacks") for alias in config.aliases} == {
        "a": ["last"], "last": ["very-last"], "very-last": ["last"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        """
        model_list:
          - {name: a, model: openai/a, api_key: k, fallbacks: [b], context_fallbacks: [b]}
          - {name: b, model: openai/b, api_key: k, fallbacks: [c], context_fallbacks: [a]}
          - {name: c, model: openai/c, api_key: k, fallbacks: [a]}
        """,
        """
        model_list:
          - {model_name: a, litellm_params: {model: openai/a, api_key: k}}
          - {model_name: b, litellm_params: {model: openai/b, api_key: k}}
          - {model_name: c, litellm_params: {model: openai/c, api_key: k}}
        router_settings:
          fallbacks: [{a: [b]}, {b: [c]}, {c: [a]}]
          context_window_fallbacks: [{a: [b]}, {b: [a]}]
        """,
    ],
)
def test_names_that_stand_in_for_each_other(text: str) -> None:
    config = read(text)
    assert {alias.name: alias.options["fallbacks"] for alias in config.aliases} == {"a": ["b"], "b": ["c"], "c": ["a"]}
    router = ModelTable(config).router
    assert router is not None
    assert [each.name for each in router.aliases["b"].path] == ["b", "c", "a"]
    assert [each.name for each in router.aliases["b"].larger] == ["a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "model_list:\n- {name: smart, model: openai/a, api_key: k,\n   fallbacks: [smat]}",
            "gateway.yaml:3: model_list[0].fallbacks[0]: there is no name 'smat' in model_list; did you mean 'smart'?",
        ),
        (
            "model_list:\n- {name: a, model: openai/a, api_key: k,\n   fallbacks: [a]}",
            "gateway.yaml:3: model_list[0].fallbacks[0]: 'a' cannot stand in for itself",
        ),
        (
            "model_list: [{name: a, model: openai/a, api_key: k}]\nrouter_settings:\n  fallbacks:\n  - a: [a]",
            "gateway.yaml:4: router_settings.fallbacks[0].a[0]: 'a' cannot stand in for itself",
        ),
        (
            "model_list: [{name: a, model: openai/a, api_key: k}]\nrouter_settings:\n  fallbacks:\n  - b: [a]",
            "gateway.yaml:4: router_settings.fallbacks[0].b: there is no name 'b' in model_list",
        ),
        (
            "model_list: [{name: a, model: openai/a, api_key: k}]\nlitellm_settings:\n  fallbacks: [{a: [{model: b}]}]",
            "gateway.yaml:3: litellm_settings.fallbacks[0].a[0]: must be the name of a model",
        ),
        (
            "router_settings: {routing_strategy: best}",
            "router_settings.routing_strategy: must be one of simple-shuffle",
        ),
        ("router_settings: {retry_policy: {}}", "which errors are worth a retry"),
        ("router_settings: {num_retires: 1}", "did you mean 'num_retries'?"),
        ("model_list: [{name: a, targets: []}]", "targets: has no target"),
        ("model_list: [{name: a, targets: [{model: openai/a, api_key: k}], model: b}]", "stands beside targets"),
        ("model_list: [{name: a, targets: [{model: openai/a, api_key: k, strategy: x}]}]", "is not a field"),
        ("model_list: [{name: a, model: openai/a, api_key: k, strategy: best}]", "must be one of order, weighted"),
        ("model_list: [{name: a, model: openai/a, api_key: k, mid_stream: restart}]", "cannot be told to throw away"),
        ("model_list: [{name: a, model: openai/a, api_key: k, shadow_share: 2}]", "a share from 0 to 1"),
        ("model_list: [{name: a, model: openai/a, api_key: k, hedge: soon}]", "or p95"),
        ("model_list: [{name: a, model: openai/a, api_key: k, price: {inptu: 1}}]", "have no 'inptu'"),
        (
            "model_list:\n- name: a\n  targets:\n  - {model: openai/a, api_key: k, price: 1}\n"
            "  - {model: openai/a, api_key: k, base_url: 'http://127.0.0.1:1', price: 2}",
            "gateway.yaml:5: price: openai/a has another price at gateway.yaml:4; a price holds for every target",
        ),
        (
            "model_list:\n- {model_name: a, litellm_params: {model: openai/a, api_key: k, input_cost_per_token: 1e-6}}"
            "\n- {model_name: b, litellm_params: {model: openai/a, api_key: k, input_cost_per_token: 2e-6}}",
            "gateway.yaml:3: price: openai/a has another price at gateway.yaml:2",
        ),
        (
            "model_list:\n- {name: a, model: openai/a, api_key: k, sticky: true}\n"
            "- {name: a, model: openai/b, api_key: k, sticky: false}",
            "gateway.yaml:3: model_list[1].sticky: is False here, and True in another entry of this name",
        ),
    ],
)
def test_what_is_wrong_with_an_alias(text: str, words: str) -> None:
    found = problems(text)
    assert words in "\n".join(found)
    assert len(found) == 1


# --- keys --------------------------------------------------------------------------------------------------------


def test_virtual_keys(tmp_path: Path) -> None:
    hashed = hashlib.sha256(b"sk-b").hexdigest()
    (tmp_path / "keys.sha256").write_text(f"# a comment\n{hashlib.sha256(b'sk-c').hexdigest()}  carol\n\n")
    path = tmp_path / "gateway.yaml"
    path.write_text(f"""
keys:
  - name: alice
    key: os.environ/ALICE
    tenant: acme
    models: [smart, openai/*]
    requests_per_minute: 60
    tokens_per_minute: 1e+5
    max_concurrent: 4
    budget: [{{usd: 20, per: month}}, {{tokens: 1000, per: day}}]
    priority: NORMAL
    expires: 2030-01-31
  - {{name: bob, key_sha256: {hashed}, rpm: 5}}
  - {{file: keys.sha256, tenant: others}}
""")
    environ = {"ALICE": "sk-a"}
    config = load_config(path, environ=environ, credentials=Credentials(environ=environ, dotenv_path=None, home=None))
    alice, bob, carol = config.keys
    assert alice.digest == hashlib.sha256(b"sk-a").digest()
    assert (alice.tenant, alice.models, alice.priority) == ("acme", {"smart", "openai/*"}, Priority.NORMAL)
    assert alice.limits == {
        "requests_per_minute": 60.0, "tokens_per_minute": 100000.0, "max_concurrent": 4,
        "budgets": ({"usd": 20.0, "per": "month"}, {"tokens": 1000, "per": "day"}),
    }  # fmt: skip
    assert alice.expires == 1896134400.0  # the end of that day
    assert (bob.digest, bob.tenant, bob.limits) == (bytes.fromhex(hashed), "bob", {"requests_per_minute": 5.0})
    assert (carol.name, carol.tenant, carol.digest) == ("carol", "others", hashlib.sha256(b"sk-c").digest())
    assert "sk-a" not in repr(config)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keys: [{name: a}]", "needs one of key (os.environ/NAME), key_sha256 and file"),
        ("keys: [{key: k}]", "has no name"),
        ("keys: [{name: a, key_sha256: abc}]", "64 hex digits"),
        ("keys:\n- {name: a, key: k}\n- {name: a, key: l}", "gateway.yaml:3: keys[1].key: the name 'a' is taken"),
        ("keys:\n- {name: a, key: k}\n- {name: b, key: k}", "gateway.yaml:3: keys[1].key: is the key of 'a'"),
        ("keys: [{name: a, key: k, models: []}]", "a list of names"),
        ("keys: [{name: a, key: k, models: ['*b']}]", "only be the last character"),
        ("keys: [{name: a, key: k, priority: URGENT}]", "HIGH"),
        ("keys: [{name: a, key: k, expires: soon}]", "must be a day"),
        ("keys: [{name: a, key: k, budget: {per: month}}]", "needs usd (US dollars) or tokens"),
        ("keys: [{name: a, key: k, budget: {usd: 1, per: fortnight}}]", "must be one of minute, hour, day"),
        ("keys: [{name: a, key: k, requests_per_minute: 0}]", "more than 0"),
        ("keys: [{file: nowhere.txt}]", "nowhere.txt cannot be read"),
        ("keys: [{name: 'a b', key: k}]", "must be a short name"),
        ("keys: [{name: a, key: k, tennant: b}]", "did you mean 'tenant'?"),
    ],
)
def test_what_is_wrong_with_a_key(text: str, words: str) -> None:
    assert words in "\n".join(problems(text))


# --- what is switched on -------------------------------------------------------------------------------------------


def test_sections_that_switch_something_on() -> None:
    config = read(
        """
        cache:
          exact: {store: redis, url: redis://user:secret-word@cache/0, ttl: 60}
          semantic: true
        single_flight: {operations: [embed]}
        hedging: {after: p95, most_share: 0.05}
        batching: {max_batch_size: 32, strategies: {"text-*": {max_items: 8}}}
        limits:
          - {tenant: acme, requests_per_minute: 100, budget: {usd: 5, per: day}}
          - {key: "*", max_concurrent: 3, wait: 2}
        tracing: {endpoint: "http://127.0.0.1:4318", sample: 0.1, headers: {authorization: secret-word}}
        alerts:
          - {metric: error_rate, above: 0.05, webhook: "https://hooks.example/secret-word"}
        log_calls: INFO
        """
    )
    features = config.features
    assert set(features) == {
        "exact_cache", "semantic_cache", "single_flight", "hedging", "batching", "limits", "tracing", "alerts",
        "log_calls",
    }  # fmt: skip
    assert features["exact_cache"]["ttl"] == 60.0
    assert features["semantic_cache"].keys() == {"place"}
    assert features["batching"]["strategies"] == {"text-*": {"max_items": 8}}
    assert features["limits"][1] == {
        "caller": "*", "max_concurrent": 3, "wait": 2.0, "place": "gateway.yaml:10: limits[1]",
    }  # fmt: skip
    assert "secret-word" not in repr(config)
    assert "cache" not in read("cache: {exact: false}").features


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cache:\n  exact: {store: floppy}", "gateway.yaml:2: cache.exact.store: must be one of memory, disk, redis"),
        ("cache: {exct: true}", "did you mean 'exact'?"),
        ("cache: {exact: 5}", "must be true, false, or a mapping"),
        ("single_flight: {operation: embed}", "did you mean 'operations'?"),
        ("hedging: {most_share: 2}", "a share from 0 to 1"),
        ("limits: [{tenant: a}]", "limits[0]: has no limit"),
        ("limits: {tenant: a}", "must be a list"),
        ("alerts: [{metric: 5}]", "must be a text"),
        ("router: {strategy: best}", "must be one of order"),
        ("litellm_settings: {cache: true}", "is the section 'cache' here"),
    ],
)
def test_what_is_wrong_with_a_section(text: str, words: str) -> None:
    assert words in "\n".join(problems(text))


def test_a_plain_configuration_switches_nothing_on() -> None:
    config: Any = read("model_list: [{name: a, model: openai/a, api_key: k}]")
    assert (config.features, config.keys, config.aliases) == ({}, (), ())


def test_the_configurations_in_the_documentation_are_right() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 3
    for block in blocks:
        names = re.findall(r"os\.environ/(\w+)", block)
        config = read(block, {name: f"key-of-{name.lower()}" for name in names})
        assert not config.warnings
        ModelTable(config)
