"""Local execution: models that run in this process.

Importing this costs nothing; torch, transformers and tokenizers (the ``local`` extra) are imported when a model is
loaded.
"""

from .embeddings import EmbeddingRuntime, Embeddings
from .models import LocalModel, find_model, list_models

__all__ = ["EmbeddingRuntime", "Embeddings", "LocalModel", "find_model", "list_models"]
