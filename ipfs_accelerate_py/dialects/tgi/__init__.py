"""Hugging Face Text Generation Inference's wire format."""
