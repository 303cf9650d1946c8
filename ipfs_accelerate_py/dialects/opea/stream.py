"""OPEA's streams: text as the repr of Python bytes (``data: b' token'``), or OpenAI's chunks; then ``[DONE]``.

Source: ``align_generator`` of GenAIExamples, one for each megaservice. Where the model behind it fails, a megaservice
answers 200 and nothing but ``[DONE]``. Nothing in the first form says why an answer ended or how many tokens it took.
"""

from __future__ import annotations

import ast
import codecs

import msgspec

from ipfs_accelerate_py.dialects.opea.errors import is_error, model_failed
from ipfs_accelerate_py.dialects.openai.errors import error_from_body
from ipfs_accelerate_py.dialects.openai.stream import ChatStreamDecoder
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.framing import SSEvent
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Chunk, Reply, Usage

__all__ = ["OpeaStreamDecoder", "bytes_of", "read_whole"]

_QUOTED = (b"b'", b'b"')


class OpeaStreamDecoder(ChatStreamDecoder):
    """Both forms; an event tells by its first byte which one it is of.

    A stream of texts is over with its ``[DONE]`` and not before: without it nothing tells a whole answer from half of
    one. A character may lie in two events.
    """

    format = "OPEA's format"

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")

    def _read(self, event: SSEvent) -> list[Chunk]:
        data = event.data
        if data == b"[DONE]":
            return self._done()
        if data.startswith(_QUOTED):
            return self._text(data)
        if not data.startswith(b"{"):
            raise ProtocolError(
                "an event of the upstream's stream is neither the repr of bytes nor JSON: a piece of the answer may be "
                "missing"
            )
        chunks = super()._read(event)
        if self.usage.reported and not self.usage.total_tokens:
            self.usage = Usage()
            for chunk in chunks:
                chunk.usage = None
        return chunks

    def _look(self, event: SSEvent) -> bool:
        if event.data.startswith(b"{"):
            return super()._look(event)
        self._read(event)
        return False

    def _text(self, data: bytes) -> list[Chunk]:
        piece = bytes_of(data)
        if piece.startswith(b"{") and (found := self._structure(piece)) is not None:
            return found
        try:
            text = self._decoder.decode(piece)
        except UnicodeDecodeError:
            raise ProtocolError("a piece of the upstream's answer is not UTF-8") from None
        self._begun = True
        if not text:
            return []
        self.content_seen = True
        return [Chunk(text=text, model=self.model)]

    def _structure(self, piece: bytes) -> list[Chunk] | None:
        """What a megaservice could not read itself it passes on as though it were text: a chunk, or an error."""
        try:
            raw = msgspec.json.decode(piece)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(raw, dict):
            return None
        if is_error(raw):
            raise error_from_body(raw)
        if raw.get("object") == "chat.completion.chunk":
            return super()._read(SSEvent(piece))
        return None

    def _done(self) -> list[Chunk]:
        if self._decoder.getstate()[0]:
            raise ProtocolError("the upstream's answer ends in the middle of a character")
        if not self.content_seen and not self._ended:
            raise model_failed(
                "the megaservice ended its stream without a word of an answer: the model behind it has failed"
            )
        self.complete = self.finished = True
        if self.finish_reason is not None:
            return []
        self.finish_reason = "stop"  # what the service says of every answer that does not stream
        return [Chunk(finish_reason="stop", model=self.model)]


def bytes_of(data: bytes) -> bytes:
    """The bytes that a repr such as ``b' token'`` stands for; nothing is evaluated but a literal of bytes.

    One of OPEA's generators writes ``b'`` and ``'`` around a text as it is. What is no literal is read that way.
    """
    try:
        value = ast.literal_eval(data.decode())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if isinstance(value, bytes):
        return value
    if len(data) >= 3 and data[-1:] == data[1:2]:
        return data[2:-1]
    raise ProtocolError("a piece of the upstream's answer breaks off: it is no whole repr of bytes")


def read_whole(body: bytes) -> Reply:
    """An answer that was streamed although nobody asked for that."""
    decoder = OpeaStreamDecoder()
    collector = Collector()
    for chunk in (*decoder.feed(body), *decoder.end()):
        collector.add(chunk)
    reply = collector.reply()
    reply.finish_reason = reply.finish_reason or decoder.finish_reason
    return reply
