"""The older public API, as a thin face over `Client`; see docs/older-api.md. Nothing else imports it."""

from ipfs_accelerate_py.api_backends.claude_backend import claude
from ipfs_accelerate_py.api_backends.gemini_backend import gemini
from ipfs_accelerate_py.api_backends.groq_backend import groq
from ipfs_accelerate_py.api_backends.hf_tei_backend import hf_tei
from ipfs_accelerate_py.api_backends.hf_tgi_backend import hf_tgi
from ipfs_accelerate_py.api_backends.llvm_backend import llvm, vllm
from ipfs_accelerate_py.api_backends.multiplexer import ApiKeyMultiplexer
from ipfs_accelerate_py.api_backends.ollama_backend import ollama
from ipfs_accelerate_py.api_backends.opea_backend import opea
from ipfs_accelerate_py.api_backends.openai_backend import openai_api
from ipfs_accelerate_py.api_backends.ovms_backend import ovms
from ipfs_accelerate_py.api_backends.s3_kit_backend import s3_kit

__all__ = [
    "ApiKeyMultiplexer",
    "claude",
    "gemini",
    "groq",
    "hf_tei",
    "hf_tgi",
    "llvm",
    "ollama",
    "opea",
    "openai_api",
    "ovms",
    "s3_kit",
    "vllm",
]
