"""Chat and completion by llama.cpp: requests and answers are OpenAI's already, so little is translated."""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.errors import AccelerateError, ContextLengthExceeded, InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.types import Chunk, ToolCall, Usage

__all__ = ["LlamaConversation"]

Told = Callable[[Chunk | Exception], None]
#: Tokens of a completion that names no limit: OpenAI's own default. llama.cpp would write until its context is full.
_COMPLETION = 16
_CLOSED = "the local model has been unloaded"


class _Ticket:
    """A request that waits or is written."""

    __slots__ = ("body", "cancelled", "chat", "choices", "last", "told", "usage")

    def __init__(self, chat: bool, body: dict[str, Any], told: Told) -> None:
        self.chat = chat
        self.body = body
        self.told = told
        self.cancelled = False
        #: How choices ended: the last of them is told with the usage of all.
        self.last: list[Chunk] = []
        #: Choices whose usage has not come yet: each has its own.
        self.choices = max(1, int(body["n"])) if isinstance(body.get("n"), int) else 1
        self.usage = Usage(reported=True)

    def cancel(self) -> None:
        self.cancelled = True


class LlamaConversation:
    """See `Conversation`. A thread for each answer that is written at once; what waits is ordered by priority."""

    def __init__(self, server: Any, key: str, *, name: str, parallel: int, context: int, template: bool) -> None:
        self._server = server
        self._key = key
        self._name = name
        self.max_positions = context
        self._template = template
        #: Whether that shows tools; None before anybody wanted to know.
        self._tools: bool | None = None
        self._waiting: queue.PriorityQueue[tuple[int, int, _Ticket | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._running: set[_Ticket] = set()
        self._parallel = parallel
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._counts = {"requests": 0, "input_tokens": 0, "output_tokens": 0, "cancelled": 0, "failed": 0}

    def chat(
        self, messages: list[dict[str, Any]], options: Mapping[str, Any], told: Told, *, priority: int = 1
    ) -> _Ticket:
        self._needs_template()
        if options.get("tools") and options.get("tool_choice") != "none":
            self._shows_tools()
        return self._begin(_Ticket(True, {"messages": messages, **_options(options)}, told), priority)

    def complete(
        self, prompt: str | list[int], options: Mapping[str, Any], told: Told, *, priority: int = 1
    ) -> _Ticket:
        return self._begin(
            _Ticket(False, {"max_tokens": _COMPLETION, "prompt": prompt, **_options(options)}, told), priority
        )

    def count(self, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> int:
        self._needs_template()
        tools = {name: options[name] for name in ("tools",) if name in options}
        made = self._post("/apply-template", {"messages": messages, **tools})["prompt"]
        return len(self._post("/tokenize", {"content": made, "add_special": False, "parse_special": True})["tokens"])

    def snapshot(self) -> Mapping[str, Any]:
        with self._lock:
            return {**self._counts, "running": len(self._running), "waiting": self._waiting.qsize()}

    def close(self) -> None:
        with self._lock:
            self._closed = True
            running, threads = list(self._running), list(self._threads)
        for ticket in running:
            ticket.cancel()
        for _ in threads:
            self._waiting.put((-1, next(self._numbers), None))
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()
        while not self._waiting.empty():
            _, _, left = self._waiting.get_nowait()
            if left is not None:
                left.told(RuntimeUnavailable(_CLOSED))
        self._server = None

    # --- within ---------------------------------------------------------------------------------------------------

    def _needs_template(self) -> None:
        if not self._template:
            raise InvalidRequest(
                f"the model {self._name!r} has no chat template, so messages cannot be written for it: use completions "
                "(its prompt as text), or a model that was made for chat",
                status=400,
                param="messages",
            )

    def _shows_tools(self) -> None:
        """llama.cpp leaves tools out, and says nothing, where the template has no place for them."""
        if self._tools is None:
            tool = {"type": "function", "function": {"name": "probe", "parameters": {"type": "object"}}}
            asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
            made = [self._post("/apply-template", body)["prompt"] for body in (asked, {**asked, "tools": [tool]})]
            self._tools = made[0] != made[1]
        if not self._tools:
            raise InvalidRequest(
                f"the chat template of {self._name!r} has no place for tools, so the model would not hear of them: use "
                "a model that was made for tools, or runtime torch with its checkpoint",
                status=400,
                param="tools",
            )

    def _begin(self, ticket: _Ticket, priority: int) -> _Ticket:
        with self._lock:
            if self._closed:
                raise RuntimeUnavailable(_CLOSED)
            if len(self._threads) < self._parallel:
                thread = threading.Thread(target=self._serve, name=f"llama_{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._counts["requests"] += 1
        self._waiting.put((priority, next(self._numbers), ticket))
        return ticket

    def _serve(self) -> None:
        while True:
            _, _, ticket = self._waiting.get()
            if ticket is None:
                return
            if ticket.cancelled:
                continue
            with self._lock:
                if self._closed:
                    failure: Exception | None = RuntimeUnavailable(_CLOSED)
                else:
                    failure = None
                    self._running.add(ticket)
            try:
                if failure is None:
                    failure = self._answer(ticket)
            finally:
                with self._lock:
                    self._running.discard(ticket)
            if failure is not None and not ticket.cancelled:
                with self._lock:
                    self._counts["failed"] += 1
                ticket.told(failure)

    def _answer(self, ticket: _Ticket) -> Exception | None:
        """Write one answer; what went wrong, or None."""
        found: list[Exception] = []

        def heard(raw: Any) -> bool:
            """True ends the writing."""
            if ticket.cancelled or self._closed:
                return True
            for event in raw if isinstance(raw, list) else [raw]:
                if "error" in event:
                    found.append(self._error(event["error"]))
                    return True
                self._tell(ticket, event)
            return False

        ask = self._server.handle_chat_completions if ticket.chat else self._server.handle_completions
        try:
            said = ask({**ticket.body, "stream": True, "stream_options": {"include_usage": True}}, heard)
        except AccelerateError as exc:
            return exc
        except ValueError as exc:
            return InvalidRequest(f"llama.cpp refuses the request: {exc}", status=400)
        except Exception as exc:  # its binding raises bare errors for what llama.cpp says
            return RuntimeUnavailable(f"llama.cpp failed: {exc}")
        if isinstance(said, Mapping) and "error" in said:
            return self._error(said["error"])
        if ticket.cancelled:
            with self._lock:
                self._counts["cancelled"] += 1
            return None
        if self._closed and not found:
            return RuntimeUnavailable(_CLOSED)
        return found[0] if found else None

    def _tell(self, ticket: _Ticket, event: Mapping[str, Any]) -> None:
        usage = event.get("usage")
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {"content": choice.get("text")}
            chunk = Chunk(
                text=delta.get("content") or "",
                reasoning=delta.get("reasoning_content") or "",
                tool_calls=[_tool_call(each) for each in delta.get("tool_calls") or ()],
                finish_reason=choice.get("finish_reason"),
                index=choice.get("index", 0),
                data=json.dumps({"logprobs": choice["logprobs"]}).encode() if choice.get("logprobs") else b"",
            )
            if chunk.finish_reason:
                ticket.last.append(chunk)
            elif chunk.text or chunk.reasoning or chunk.tool_calls:
                ticket.told(chunk)
        if usage:
            ticket.choices -= 1
            whole, once = ticket.usage, ticket.usage.input_tokens == 0
            whole.output_tokens += usage.get("completion_tokens", 0)
            if once:  # all choices share one prompt
                whole.input_tokens = usage.get("prompt_tokens", 0)
                whole.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            if ticket.choices > 0:
                return
            with self._lock:
                self._counts["input_tokens"] += whole.input_tokens
                self._counts["output_tokens"] += whole.output_tokens
            ended = ticket.last or [Chunk(finish_reason="stop")]
            ended[-1].usage = whole
            for chunk in ended:
                ticket.told(chunk)

    def _error(self, said: Mapping[str, Any]) -> Exception:
        message = str(said.get("message", said))
        if said.get("type") == "exceed_context_size_error":
            return ContextLengthExceeded(
                f"the prompt has {said.get('n_prompt_tokens')} tokens, and this model takes {said.get('n_ctx')} with "
                "its answer",
                status=400,
                param="messages",
            )
        code = said.get("code")
        if isinstance(code, int) and 400 <= code < 500:
            return InvalidRequest(f"llama.cpp refuses the request: {message}", status=400)
        return RuntimeUnavailable(f"llama.cpp failed: {message}")

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What only its loopback port answers."""
        where = urlsplit(self._server.listening_address)
        connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except (OSError, ValueError, http.client.HTTPException) as exc:
            raise RuntimeUnavailable(f"llama.cpp failed: {exc}") from exc
        finally:
            connection.close()
        if answer.status != 200:
            raise self._error(said.get("error", said))
        return said


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's names are llama.cpp's, but for the newer one of the limit, and Transformers' of two."""
    made = {
        name: value for name, value in options.items() if value is not None and name not in ("stream", "stream_options")
    }
    for other, name in _RENAMED.items():
        if other in made:
            made[name] = made.pop(other)
    return made


_RENAMED = {
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
}


def _tool_call(said: Mapping[str, Any]) -> ToolCall:
    function = said.get("function") or {}
    return ToolCall(
        id=said.get("id") or "",
        name=function.get("name") or "",
        arguments=function.get("arguments") or "",
        index=said.get("index", 0),
    )
