"""GGUF, the file format of llama.cpp: reading what a file says of its model, and writing one of a checkpoint.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from .reading import GGUFFacts, read_gguf
from .writing import write_gguf

__all__ = ["GGUFFacts", "read_gguf", "write_gguf"]
