"""Hugging Face Text Embeddings Inference's wire format."""
