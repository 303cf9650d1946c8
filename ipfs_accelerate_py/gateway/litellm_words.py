"""LiteLLM's words, and what they are called here.

What would be missed if it were left out is refused by name, with what to write instead; what changes nothing is warned
of. Source: LiteLLM's documentation of the proxy's ``config.yaml`` (docs.litellm.ai, "All settings", "Router settings",
"Load balancing", "Reliability").
"""

from __future__ import annotations

__all__ = [
    "GENERAL_IGNORED",
    "GENERAL_REFUSED",
    "LITELLM_IGNORED",
    "LITELLM_REFUSED",
    "PARAMS_IGNORED",
    "PARAMS_REFUSED",
    "PARAMS_SETTINGS",
    "PRICES",
    "ROUTER_IGNORED",
    "ROUTER_REFUSED",
    "ROUTER_SETTINGS",
    "STRATEGIES",
]

#: Settings of one deployment.
PARAMS_SETTINGS = {
    "timeout": "total_timeout",
    "stream_timeout": "first_content_timeout",
    "max_retries": "max_retries",
    "num_retries": "max_retries",
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "max_parallel_requests": "max_concurrent_requests",
    "cooldown_time": "circuit_reset_timeout",
}
#: Prices, which are understood as they are.
PRICES = (
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "output_cost_per_reasoning_token",
    "input_cost_per_audio_token",
    "output_cost_per_audio_token",
    "input_cost_per_request",
    "input_cost_per_second",
    "input_cost_per_character",
    "output_cost_per_image",
)

_DEFAULTS = "is an option of requests; clients send it, the configuration cannot (yet)"
_LATER = "is not supported; remove it"
_BUDGET = "is not supported for one deployment; budgets of keys and tenants are under 'keys' and 'limits'"
PARAMS_REFUSED = {
    **dict.fromkeys(
        ["temperature", "max_tokens", "top_p", "seed", "stop", "n", "presence_penalty", "frequency_penalty", "user"],
        _DEFAULTS,
    ),
    "mock_response": "is not supported: nothing here makes up answers (the simulator does: ipfs-accelerate simulate)",
    "mock_testing_fallbacks": "is not supported: the simulator plays faults (ipfs-accelerate simulate)",
    "api_version": "is Azure's, which is not among the backends yet",
    "custom_llm_provider": "is not needed: write the backend in front of the model (openai/...)",
    "litellm_credential_name": "is not supported; write api_key: os.environ/NAME",
    "use_in_pass_through": _LATER,
    "max_budget": _BUDGET,
    "budget_duration": _BUDGET,
}
_NO_EFFECT = "is LiteLLM's and has no effect here"
PARAMS_IGNORED = dict.fromkeys(
    [
        "additional_drop_params",
        "drop_params",
        "merge_reasoning_content_in_choices",
        "output_cost_per_second",
        "tags",
    ],
    _NO_EFFECT,
)

_NO_AUTH = "is not supported here, and without it everybody could ask; remove it, and use api_key or keys"
GENERAL_REFUSED = {
    "custom_auth": _NO_AUTH,
    "enable_jwt_auth": _NO_AUTH,
    "litellm_jwtauth": _NO_AUTH,
    "enable_oauth2_auth": _NO_AUTH,
    "allowed_ips": _NO_AUTH,
    "pass_through_endpoints": _LATER,
    "max_parallel_requests": "is max_concurrent_requests under 'settings' here",
    "global_max_parallel_requests": "is max_concurrent_requests under 'settings' here",
}
GENERAL_IGNORED = dict.fromkeys(
    [
        "alerting",
        "alerting_threshold",
        "background_health_checks",
        "database_connection_pool_limit",
        "database_url",
        "disable_spend_logs",
        "health_check_interval",
        "proxy_batch_write_at",
        "store_model_in_db",
        "use_redis_transaction_buffer",
    ],
    _NO_EFFECT + " (see 'ledger', 'alerts' and 'keys' for ours)",
)

LITELLM_REFUSED = {
    **dict.fromkeys(["guardrails", "default_internal_user_params", "upperbound_key_generate_params"], _LATER),
    **dict.fromkeys(["max_budget", "budget_duration"], "is a budget of everybody together: write it under 'limits'"),
    "cache": "is the section 'cache' here: cache: {exact: {store: memory}}",
    "cache_params": "is the section 'cache' here: cache: {exact: {store: memory, ttl: 3600}}",
}
LITELLM_IGNORED = dict.fromkeys(
    [
        "callbacks",
        "drop_params",
        "failure_callback",
        "force_ipv4",
        "json_logs",
        "modify_params",
        "redact_user_api_key_info",
        "set_verbose",
        "success_callback",
        "telemetry",
        "turn_off_message_logging",
    ],
    _NO_EFFECT,
)

STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least-busy",
    "latency-based-routing": "latency",
    "cost-based-routing": "cost",
    "usage-based-routing": "headroom",
    "usage-based-routing-v2": "headroom",
}
ROUTER_SETTINGS = {
    "num_retries": "max_retries",
    "timeout": "total_timeout",
    "stream_timeout": "first_content_timeout",
    "cooldown_time": "circuit_reset_timeout",
    "retry_after": "initial_retry_delay",
    "default_max_parallel_requests": "max_concurrent_requests",
}
_RETRY_POLICY = "is not supported: which errors are worth a retry is decided by their kind (docs/library.md)"
ROUTER_REFUSED = {
    "allowed_fails_policy": _RETRY_POLICY,
    "model_group_retry_policy": _RETRY_POLICY,
    "retry_policy": _RETRY_POLICY,
    "assistants_config": _LATER,
    "disable_cooldowns": "is not supported; a high circuit_failure_threshold under 'settings' comes to the same",
    "enable_tag_filtering": "is not supported, and calls would go to other deployments than their tags say",
    "provider_budget_config": "is not supported; budgets are under 'limits'",
    "model_list": "stands at the top of the file",
}
ROUTER_IGNORED = {
    **dict.fromkeys(
        [
            "alerting_config",
            "cache_kwargs",
            "cache_responses",
            "caching_groups",
            "client_ttl",
            "debug_level",
            "default_litellm_params",
            "default_priority",
            "max_fallbacks",
            "optional_pre_call_checks",
            "polling_interval",
            "redis_host",
            "redis_password",
            "redis_port",
            "redis_url",
            "router_general_settings",
            "routing_strategy_args",
            "set_verbose",
        ],
        _NO_EFFECT,
    ),
    "enable_pre_call_checks": "has no effect: targets whose context_window is known are always looked at",
}
