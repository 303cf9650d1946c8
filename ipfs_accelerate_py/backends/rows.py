"""The backends that come with this package: a row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.backends.anthropic import anthropic_dialect, anthropic_headers, anthropic_url
from ipfs_accelerate_py.backends.local_options import OPTIONS as LOCAL_OPTIONS
from ipfs_accelerate_py.backends.openai_rows import groq_dialect, openai_dialect, server_dialect
from ipfs_accelerate_py.backends.spec import BackendSpec, Option, Service
from ipfs_accelerate_py.dialects.base import Dialect

__all__ = ["ROWS"]


def _local(spec: BackendSpec, base_url: str, options: Mapping[str, Any]) -> Service:
    from ipfs_accelerate_py.backends.local import LocalBackend

    return LocalBackend(spec, options)


def _ovms(base_url: str, options: Mapping[str, Any]) -> Dialect:
    from ipfs_accelerate_py.dialects.ovms.dialect import OvmsDialect

    return OvmsDialect(
        model=str(options.get("model") or ""),
        version=str(options.get("version") or ""),
        protocol=options.get("protocol") or "oip",
    )


def _ovms_grpc(spec: BackendSpec, base_url: str, options: Mapping[str, Any]) -> Service | None:
    if not base_url.startswith(("grpc://", "grpcs://")):
        return None
    from ipfs_accelerate_py.backends.oip_grpc import OipGrpcBackend

    return OipGrpcBackend(spec, base_url, options)


def _without_version(url: str) -> str:
    """A model server's own address; people write that of one of its faces (``/v3``) in its place."""
    url = url.rstrip("/")
    head, mark, last = url.rpartition("/")
    return head if mark and last in ("v1", "v2", "v3") else url


def _ollama(base_url: str, options: Mapping[str, Any]) -> Dialect:
    from ipfs_accelerate_py.dialects.ollama.dialect import OllamaDialect

    return OllamaDialect(model=options.get("model"))


def _ollama_url(url: str) -> str:
    from ipfs_accelerate_py.dialects.ollama.address import api_url

    return api_url(url)


def _gemini(base_url: str, options: Mapping[str, Any]) -> Dialect:
    from ipfs_accelerate_py.dialects.gemini.dialect import GeminiDialect

    return GeminiDialect()


def _gemini_url(url: str) -> str:
    """The host alone is completed, for Google's own client takes it without the version."""
    url = url.rstrip("/")
    return url if url.partition("://")[2].partition("/")[2] else url + "/v1beta"


def _opea(base_url: str, options: Mapping[str, Any]) -> Dialect:
    from ipfs_accelerate_py.dialects.opea.dialect import OpeaDialect

    return OpeaDialect(base_url, service=options.get("service"))


def _s3(spec: BackendSpec, base_url: str, options: Mapping[str, Any]) -> Service:
    from ipfs_accelerate_py.backends.s3 import S3Service

    return S3Service(spec, base_url, options)


def _hosted(base_url: str, options: Mapping[str, Any]) -> bool:
    from ipfs_accelerate_py.dialects.tgi.hosted import is_hosted

    return is_hosted(base_url, options)


def _tgi(base_url: str, options: Mapping[str, Any]) -> Dialect:
    from ipfs_accelerate_py.dialects.tgi.dialect import TgiDialect

    return TgiDialect(hosted=_hosted(base_url, options), model=str(options.get("model") or ""))


def _tei(base_url: str, options: Mapping[str, Any]) -> Dialect:
    from ipfs_accelerate_py.dialects.tei.dialect import TeiDialect

    return TeiDialect(hosted=_hosted(base_url, options), model=str(options.get("model") or ""))


def _hugging_face_url(url: str) -> str:
    from ipfs_accelerate_py.dialects.tgi.hosted import server_root

    return server_root(url)


ROWS = (
    BackendSpec(
        "openai",
        dialect=openai_dialect,
        base_url="https://api.openai.com/v1",
        key_metadata=("openai_api_key",),
        key_env=("OPENAI_API_KEY",),
        url_metadata=("openai_base_url",),
        url_env=("OPENAI_BASE_URL",),
        aliases=("openai_api",),
    ),
    BackendSpec(
        "claude",
        dialect=anthropic_dialect,
        base_url="https://api.anthropic.com/v1",
        normalize_url=anthropic_url,
        key_metadata=("anthropic_api_key", "claude_api_key"),
        key_env=("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"),
        url_metadata=("anthropic_base_url",),
        url_env=("ANTHROPIC_BASE_URL",),
        key_header="x-api-key",
        key_prefix="",
        authorize=anthropic_headers,
        options=(
            Option("anthropic_version", "2023-06-01", ("anthropic_version",), ("ANTHROPIC_VERSION",)),
            Option("auth_style", "x-api-key", ("anthropic_auth_style",), ("ANTHROPIC_AUTH_STYLE",)),
            Option("model", "claude-sonnet-5-5", ("anthropic_model", "claude_model"), ("ANTHROPIC_MODEL",)),
            Option("max_tokens", 4096, ("anthropic_max_tokens",), ("ANTHROPIC_MAX_TOKENS",)),
            Option("reasoning", "auto", ("anthropic_reasoning",), ("ANTHROPIC_REASONING",)),
        ),
        aliases=("anthropic",),
    ),
    BackendSpec(
        "groq",
        dialect=groq_dialect,
        base_url="https://api.groq.com/openai/v1",
        key_metadata=("groq_api_key",),
        key_env=("GROQ_API_KEY",),
        url_metadata=("groq_base_url",),
        url_env=("GROQ_BASE_URL",),
    ),
    BackendSpec(
        "gemini",
        dialect=_gemini,
        base_url="https://generativelanguage.googleapis.com/v1beta",
        normalize_url=_gemini_url,
        key_metadata=("google_api_key", "gemini_api_key"),
        key_env=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        url_metadata=("google_base_url",),
        url_env=("GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
        key_header="x-goog-api-key",
        key_prefix="",
        options=(
            Option("model", "gemini-2.5-flash", ("gemini_model", "google_model"), ("GEMINI_MODEL",)),
            Option("embedding_model", "gemini-embedding-001", ("gemini_embedding_model",), ("GEMINI_EMBEDDING_MODEL",)),
        ),
        aliases=("google",),
    ),
    BackendSpec(
        "llvm",
        dialect=server_dialect,
        base_url="http://localhost:8000/v1",
        key_metadata=("llvm_api_key",),
        key_env=("LLVM_API_KEY",),
        url_metadata=("llvm_endpoint", "llvm_api_endpoint"),
        url_env=("LLVM_API_ENDPOINT",),
        requires_key=False,
        options=(Option("server", "vllm", ("llvm_server",), ("LLVM_SERVER",)),),
        aliases=("vllm", "hosted_vllm", "llamacpp"),
    ),
    BackendSpec(
        "ovms",
        dialect=_ovms,
        service=_ovms_grpc,
        base_url="http://localhost:8000",
        normalize_url=_without_version,
        key_metadata=("ovms_api_key",),
        key_env=("OVMS_API_KEY",),
        url_metadata=("ovms_api_url",),
        url_env=("OVMS_API_URL",),
        requires_key=False,
        options=(
            Option("model", "", ("ovms_model",), ("OVMS_MODEL",)),
            Option("version", "", ("ovms_version",), ("OVMS_VERSION",)),
            Option("precision", "", ("ovms_precision",), ("OVMS_PRECISION",)),
            Option("protocol", "oip", ("ovms_protocol",), ("OVMS_PROTOCOL",)),
        ),
    ),
    BackendSpec(
        "ollama",
        dialect=_ollama,
        base_url="http://localhost:11434/api",
        normalize_url=_ollama_url,
        key_metadata=("ollama_api_key",),
        key_env=("OLLAMA_API_KEY",),
        url_metadata=("ollama_api_url", "ollama_host"),
        url_env=("OLLAMA_API_URL", "OLLAMA_HOST"),
        requires_key=False,
        headers={"Accept": "application/json, application/x-ndjson"},
        options=(Option("model", None, ("ollama_model",), ("OLLAMA_MODEL",)),),
    ),
    BackendSpec(
        "hf_tgi",
        dialect=_tgi,
        base_url="https://router.huggingface.co",
        normalize_url=_hugging_face_url,
        key_metadata=("hf_api_token", "hf_api_key"),
        key_env=("HF_API_TOKEN", "HF_TOKEN"),
        url_metadata=("tgi_url",),
        url_env=("TGI_URL",),
        key_needed=_hosted,
        options=(Option("hosted", None, ("hf_hosted",)), Option("model", None, ("tgi_model",), ("TGI_MODEL",))),
        aliases=("tgi",),
    ),
    BackendSpec(
        "hf_tei",
        dialect=_tei,
        base_url="https://router.huggingface.co",
        normalize_url=_hugging_face_url,
        key_metadata=("hf_api_token", "hf_api_key"),
        key_env=("HF_API_TOKEN", "HF_TOKEN"),
        url_metadata=("tei_url",),
        url_env=("TEI_URL",),
        key_needed=_hosted,
        options=(Option("hosted", None, ("hf_hosted",)), Option("model", None, ("tei_model",), ("TEI_MODEL",))),
        aliases=("tei",),
    ),
    BackendSpec(
        "opea",
        dialect=_opea,
        base_url="http://localhost:8888",
        key_metadata=("opea_api_key",),
        key_env=("OPEA_API_KEY",),
        url_metadata=("opea_endpoint", "opea_api_endpoint"),
        url_env=("OPEA_API_ENDPOINT",),
        requires_key=False,
        options=(Option("service", None, ("opea_service",), ("OPEA_SERVICE",)),),
    ),
    BackendSpec(
        "s3_kit",
        service=_s3,
        store=True,
        base_url="https://s3.amazonaws.com",
        url_metadata=("s3cfg.endpoint", "s3_endpoint"),
        url_env=("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        requires_key=False,
        aliases=("s3",),
        options=(
            Option("access_key", None, ("s3cfg.accessKey", "s3_access_key"), ("S3_ACCESS_KEY",), secret=True),
            Option("secret_key", None, ("s3cfg.secretKey", "s3_secret_key"), ("S3_SECRET_KEY",), secret=True),
            Option("session_token", None, ("s3cfg.sessionToken", "s3_session_token"), secret=True),
            # Three that belong together and are not mixed with those above: a token is of its own keys alone.
            Option("aws_access_key_id", None, (), ("AWS_ACCESS_KEY_ID",), secret=True),
            Option("aws_secret_access_key", None, (), ("AWS_SECRET_ACCESS_KEY",), secret=True),
            Option("aws_session_token", None, (), ("AWS_SESSION_TOKEN",), secret=True),
            Option("region", None, ("s3cfg.region", "s3_region"), ("S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")),
            Option("bucket", None, ("s3cfg.bucket", "s3_bucket"), ("S3_BUCKET",)),
            Option("models_prefix", "models/"),
            Option("part_size", 8 << 20),
            Option("parallel", 4),
            Option("parts_at_once", 1),
            Option("anonymous", False),
            Option("allow_http", False),
        ),
        # A transfer takes as long as it takes; the waits inside it have limits of their own.
        defaults={"total_timeout": None, "max_concurrent_requests": 16},
    ),
    BackendSpec(
        "local",
        service=_local,
        in_process=True,
        requires_key=False,
        options=LOCAL_OPTIONS,
        # The runtime batches what arrives together, so callers must arrive together.
        defaults={"max_concurrent_requests": 256, "queue_size": 10_000, "max_retries": 0},
    ),
)
