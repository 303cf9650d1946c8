"""The older public API, as a thin face over `Client`; see docs/older-api.md. Nothing else imports it."""

from ipfs_accelerate_py.api_backends.groq_backend import groq
from ipfs_accelerate_py.api_backends.llvm_backend import llvm, vllm
from ipfs_accelerate_py.api_backends.openai_backend import openai_api

__all__ = ["groq", "llvm", "openai_api", "vllm"]
