"""The Responses API's stream: chunks of a chat as its named events. Pure.

Source: OpenAI's API specification (openai.openapi.yaml, ``ResponseStreamEvent``). An item of the output is begun by
``response.output_item.added`` and ended by ``response.output_item.done``; each piece says to which item it belongs.
Reasoning ends where something else begins, a message where the next item begins; calls of tools are open until the
end, for their pieces may come in turns. There is no ``[DONE]``: ``response.completed`` or ``.incomplete`` is the last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.answers import response_error
from ipfs_accelerate_py.dialects.openai.responses_answers import (
    NO_ARGUMENTS,
    Answered,
    call_item,
    ending,
    image_item,
    message_item,
    reasoning_item,
    refusal_part,
    summary_part,
    text_part,
)
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.types import Chunk, Image, ToolCall, Usage

__all__ = ["ResponseWriter"]

Item = dict[str, Any]

_encode = msgspec.json.Encoder().encode


class _Reasoning:
    """An item of reasoning that has begun."""

    def __init__(self, identity: str, index: int) -> None:
        self.identity = identity
        self.index = index
        self.text: list[str] = []
        self.blocks: list[Item] = []


class _Message:
    """A message that has begun; ``refuses`` says of what kind the part is that is being written, if one is."""

    def __init__(self, identity: str, index: int) -> None:
        self.identity = identity
        self.index = index
        self.parts: list[Item] = []
        self.text: list[str] = []
        self.refuses: bool | None = None


class _Call:
    """A call of a tool; its item has no place in the output until the tool's name is known."""

    def __init__(self) -> None:
        self.identity = ""
        self.index = -1
        self.id = ""
        self.name = ""
        self.signature = ""
        self.arguments: list[str] = []


class ResponseWriter:
    """Writes one response. ``model`` is the name to show until the backend gives one."""

    def __init__(self, answered: Answered, model: str) -> None:
        self._answered = answered
        self._model = model
        self._events: list[bytes] = []
        self._number = 0
        self._begun = False
        self._output: list[Item] = []
        self._reasoning: _Reasoning | None = None
        self._message: _Message | None = None
        self._calls: dict[int, _Call] = {}
        self._usage = Usage()
        self._finish_reason: str | None = None

    def encode(self, chunks: Iterable[Chunk]) -> bytes:
        for chunk in chunks:
            self._add(chunk)
        return self._written()

    def end(self) -> bytes:
        self._begin()
        status, reason = ending(self._finish_reason)
        for call in self._calls.values():
            if call.index < 0:
                self._open_call(call)
        if not self._output:
            self._say("", refuses=False)
        last = len(self._output) - 1
        for index in range(last + 1):
            self._close(index, status if index == last else "completed", NO_ARGUMENTS if reason is None else "")
        final = self._answered.response(self._model, self._output, status, reason, self._usage)
        self._emit(f"response.{status}", response=final)
        return self._written()

    def error_event(self, error: AccelerateError) -> bytes:
        """An error in band, in the place of the last event."""
        return response_error(error, self._number)

    def _written(self) -> bytes:
        events, self._events = self._events, []
        return b"".join(events)

    def _emit(self, kind: str, **fields: Any) -> None:
        data = _encode({"type": kind, "sequence_number": self._number, **fields})
        self._events.append(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n")
        self._number += 1

    # --- chunks --------------------------------------------------------------------------------------------------

    def _add(self, chunk: Chunk) -> None:
        if chunk.model:
            self._model = chunk.model
        self._begin()
        if chunk.index:
            return  # one answer is asked for
        if chunk.reasoning:
            self._reason(chunk.reasoning)
        if chunk.thinking_blocks:
            self._sign(list(chunk.thinking_blocks))
        if chunk.text:
            self._say(chunk.text, refuses=False)
        if chunk.refusal:
            self._say(chunk.refusal, refuses=True)
        for image in chunk.images:
            self._draw(image)
        for piece in chunk.tool_calls:
            self._call(piece)
        if chunk.usage is not None:
            self._usage = chunk.usage
        self._finish_reason = chunk.finish_reason or self._finish_reason

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            response = self._answered.response(self._model, [], "in_progress")
            self._emit("response.created", response=response)
            self._emit("response.in_progress", response=response)

    def _open(self, item: Item) -> None:
        self._emit("response.output_item.added", output_index=len(self._output), item=item)
        self._output.append(item)

    def _done(self, index: int, item: Item) -> None:
        self._output[index] = item
        self._emit("response.output_item.done", output_index=index, item=item)

    def _close(self, index: int, status: str = "completed", nothing: str = NO_ARGUMENTS) -> None:
        """End the item at this place, if it is still open."""
        if self._reasoning is not None and self._reasoning.index == index:
            self._close_reasoning(status)
        elif self._message is not None and self._message.index == index:
            self._close_message(status)
        else:
            for call in self._calls.values():
                if call.index == index:
                    self._close_call(call, status, nothing)

    # --- reasoning -----------------------------------------------------------------------------------------------

    def _reason(self, text: str) -> None:
        self._close_message()
        item = self._reasoning or self._open_reasoning()
        place = {"item_id": item.identity, "output_index": item.index, "summary_index": 0}
        if not item.text:
            self._emit("response.reasoning_summary_part.added", **place, part=summary_part(""))
        item.text.append(text)
        self._emit("response.reasoning_summary_text.delta", **place, delta=text)

    def _sign(self, blocks: list[Item]) -> None:
        if self._reasoning is not None:
            self._reasoning.blocks += blocks
        elif self._message is None and not self._calls:
            self._open_reasoning().blocks += blocks
        else:
            self._whole_reasoning(blocks, {})

    def _open_reasoning(self) -> _Reasoning:
        index = len(self._output)
        item = self._reasoning = _Reasoning(self._answered.item_id("rs", index), index)
        self._open(reasoning_item(item.identity, "in_progress", ""))
        return item

    def _whole_reasoning(self, blocks: list[Item], signatures: dict[str, str]) -> None:
        """An item that holds nothing to read: something for the next turn that is known only now."""
        index = len(self._output)
        identity = self._answered.item_id("rs", index)
        self._open(reasoning_item(identity, "in_progress", ""))
        self._done(index, reasoning_item(identity, "completed", "", blocks, signatures))

    def _close_reasoning(self, status: str = "completed") -> None:
        item, self._reasoning = self._reasoning, None
        if item is None:
            return
        text = "".join(item.text)
        if text:
            place = {"item_id": item.identity, "output_index": item.index, "summary_index": 0}
            self._emit("response.reasoning_summary_text.done", **place, text=text)
            self._emit("response.reasoning_summary_part.done", **place, part=summary_part(text))
        self._done(item.index, reasoning_item(item.identity, status, text, item.blocks))

    # --- messages ------------------------------------------------------------------------------------------------

    def _say(self, text: str, *, refuses: bool) -> None:
        self._close_reasoning()
        item = self._message
        if item is None:
            index = len(self._output)
            item = self._message = _Message(self._answered.item_id("msg", index), index)
            self._open(message_item(item.identity, "in_progress", []))
        if item.refuses is not refuses:
            self._close_part(item)
            item.refuses = refuses
            part = refusal_part("") if refuses else text_part("")
            self._emit("response.content_part.added", **_place(item), part=part)
        if not text:
            return
        item.text.append(text)
        if refuses:
            self._emit("response.refusal.delta", **_place(item), delta=text)
        else:
            self._emit("response.output_text.delta", **_place(item), delta=text, logprobs=[])

    def _close_part(self, item: _Message) -> None:
        if item.refuses is None:
            return
        text = "".join(item.text)
        place = _place(item)
        if item.refuses:
            part = refusal_part(text)
            self._emit("response.refusal.done", **place, refusal=text)
        else:
            part = text_part(text)
            self._emit("response.output_text.done", **place, text=text, logprobs=[])
        self._emit("response.content_part.done", **place, part=part)
        item.parts.append(part)
        item.text = []
        item.refuses = None

    def _close_message(self, status: str = "completed") -> None:
        item, self._message = self._message, None
        if item is not None:
            self._close_part(item)
            self._done(item.index, message_item(item.identity, status, item.parts))

    # --- images --------------------------------------------------------------------------------------------------

    def _draw(self, image: Image) -> None:
        self._close_reasoning()
        self._close_message()
        index = len(self._output)
        item = image_item(self._answered.item_id("ig", index), image)
        self._open({**item, "status": "in_progress", "result": None})
        self._done(index, item)

    # --- calls of tools ------------------------------------------------------------------------------------------

    def _call(self, piece: ToolCall) -> None:
        self._close_reasoning()
        self._close_message()
        call = self._calls.get(piece.index)
        if call is None:
            call = self._calls[piece.index] = _Call()
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        if piece.arguments:
            call.arguments.append(piece.arguments)
        if call.index >= 0:
            if piece.signature:
                self._whole_reasoning([], {call.id: piece.signature})
            self._more(call, piece.arguments)
        else:
            call.signature = call.signature or piece.signature
            if call.name:
                self._open_call(call)

    def _open_call(self, call: _Call) -> None:
        call.index = len(self._output) + bool(call.signature)
        call.id = self._answered.call_id(call.id, call.index)
        if call.signature:
            self._whole_reasoning([], {call.id: call.signature})
        call.identity = self._answered.item_id("fc", call.index)
        self._open(call_item(call.identity, "in_progress", call.id, call.name, ""))
        self._more(call, "".join(call.arguments))

    def _more(self, call: _Call, arguments: str) -> None:
        if arguments:
            place = {"item_id": call.identity, "output_index": call.index}
            self._emit("response.function_call_arguments.delta", **place, delta=arguments)

    def _close_call(self, call: _Call, status: str, nothing: str) -> None:
        if not call.arguments and nothing:
            call.arguments = [nothing]
            self._more(call, nothing)
        arguments = "".join(call.arguments)
        place = {"item_id": call.identity, "output_index": call.index}
        self._emit("response.function_call_arguments.done", **place, name=call.name, arguments=arguments)
        self._done(call.index, call_item(call.identity, status, call.id, call.name, arguments))


def _place(item: _Message) -> Item:
    return {"item_id": item.identity, "output_index": item.index, "content_index": len(item.parts)}
